"""The page of tables says what the files say."""

from tests.contracts.test_sweeps import FLAT, PAPERS
from tests.tables.page import PAGE, SWEEPS, cost, page


def test_the_page_is_written_from_the_sweeps() -> None:
    assert PAGE.read_text() == page(), "make tables writes it anew"


def test_a_sweep_s_head_says_how_many_jobs_it_has() -> None:
    for name, jobs in FLAT.items():
        if name.partition("/")[0] in PAPERS:
            said = cost((SWEEPS / f"{name}.yaml").read_text())
            assert said.startswith(f"{jobs} job{'s' if jobs > 1 else ''},"), name
