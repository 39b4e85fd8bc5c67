"""`make networks`: count what tests/papers/sizes.csv leaves empty, and write docs/networks.md from it."""

from tests.networks.page import PAGE, TABLE, filled, page, written

TABLE.write_text(written(filled()), newline="")
PAGE.write_text(page())
