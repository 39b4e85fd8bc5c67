"""What a mistyped sweep is answered with."""

import pytest
from hydra.errors import MissingConfigException

from advarch.cli.explain import explain, missing_sweep

KNOWN = [
    "demo",
    "dsnet/fig4",
    "dsnet/table1",
    "nadar/table1",
    "robnet/fig1",
    "robustwrn/fig1b",
    "robustwrn/fig4",
]


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("robustwrn/fig1bb", "did you mean 'robustwrn/fig1b'? there are robustwrn/fig1b, robustwrn/fig4"),
        ("robustwrm/fig1b", "did you mean 'robustwrn/fig1b'?"),
        ("fig1b", "did you mean 'robustwrn/fig1b'?"),
        ("table1", "did you mean 'dsnet/table1' or 'nadar/table1'?"),
        ("dsnet/table9", "did you mean 'dsnet/table1'? there are dsnet/fig4, dsnet/table1"),
        ("dmo", "did you mean 'demo'?"),
        ("zzzz", f"expected one of: {', '.join(KNOWN)}"),
    ],
)  # fmt: skip
def test_a_mistyped_sweep_is_answered_with_those_in_folders_too(wanted: str, hint: str) -> None:
    assert missing_sweep(wanted, KNOWN) == f"sweep: unknown choice {wanted!r}; {hint}"


def test_the_sweeps_that_are_there_and_a_user_s_own_are_known(tmp_path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "my_depths.yaml").touch()
    for wanted in ("robustwrn/fig1b", "my_depths"):
        error = MissingConfigException("", f"sweep/{wanted}x", ["demo", "none"])
        assert f"did you mean '{wanted}'?" in explain(error, ["--config-dir", str(tmp_path)])
