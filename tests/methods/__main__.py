"""`make methods`: the table of defenses in docs/methods/README.md, from the runs of sweeps/defenses."""

from tests.methods.page import PAGE, page

PAGE.write_text(page())
