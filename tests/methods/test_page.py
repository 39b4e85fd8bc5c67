"""The table of defenses: seeds gathered in rows, times taken from the runs that had the machine to themselves."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advarch.records import EvalRecord, RunRecord
from tests.methods import page as methods
from tests.reports.made_up_runs import evaluation, result, run

SWEEP = {
    "name": "made up",
    "rows": ["sweep.method"],
    "checkpoints": ["best"],
    "seeds": [0, 1],
    "published": [],
}
ABOVE = "# Methods\n\nWritten by hand.\n\n"


def judged(autoattack: int, *flags: str) -> dict[str, EvalRecord]:
    best = evaluation("best", (340, 300, 240))
    return {"best": replace(best, results=(*best.results, result("autoattack", autoattack, flags=flags)))}


def trained(method: str, seed: int, seconds: float, epochs: int, **changes: Any) -> RunRecord:
    made = run((1, 1, 1), seed=seed)
    config = made.config | {"seed": seed, "sweep": SWEEP | {"method": method}}
    train = replace(made.train, epochs=epochs, seconds=seconds)
    return replace(made, **({"config": config, "train": train, "evaluations": judged(180)} | changes))


def nothing_of(made: RunRecord) -> RunRecord:
    return replace(made, state="missing", train=None, size=None, evaluations={}, curves=())


FOUND = {
    "mnist5k": [
        trained("PGD-AT", 0, 60.0, 6),
        trained("PGD-AT", 1, 90.0, 6, evaluations=judged(216)),
        trained("TRADES", 0, 66.0, 6, evaluations=judged(144, "zero_gradient")),
        nothing_of(trained("TRADES", 1, 0.0, 6)),
        nothing_of(trained("Free", 0, 0.0, 6)),
        nothing_of(trained("Free", 1, 0.0, 6)),
    ],
    "mnist5k_kd": [trained("KD", 0, 120.0, 6), trained("KD", 1, 120.0, 6)],
    "mnist_m": [trained("PGD-AT", 0, 600.0, 6), trained("PGD-AT", 1, 600.0, 6)],
    "mnist_m_kd": [],
}
TIMED = {"mnist5k": [trained("PGD-AT", 0, 4.0, 1)], "mnist5k_kd": [], "mnist_m": [], "mnist_m_kd": []}


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, list[str]]]:
    """The cells behind checkpoint of a section's rows, by the method in the first."""

    def planned_jobs(arguments: list[str]) -> list[SimpleNamespace]:
        name = arguments[0].removeprefix("+sweep=defenses/")
        runs = TIMED[name] if f"outputs={methods.TIMED}" in arguments else FOUND[name]
        return [
            SimpleNamespace(config=r.config, folder=SimpleNamespace(record=lambda _, r=r: r)) for r in runs
        ]

    monkeypatch.setattr(methods, "planned_jobs", planned_jobs)
    monkeypatch.setattr(methods, "PAGE", tmp_path / "README.md")
    methods.PAGE.write_text(f"{ABOVE}{methods.HEADING}\nwhat stood here before\n")

    def of(name: str) -> dict[str, list[str]]:
        section = methods.page().partition(f"### {methods.SWEEPS[name]}\n")[2].partition("\n##")[0]
        lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
        return {cells[0].strip(): [cell.strip() for cell in cells[2:]] for cells in lines[2:]}

    return of


def test_the_end_of_the_page_is_written_anew_and_what_stands_above_it_stays(
    rows: Callable[[str], dict[str, list[str]]],
) -> None:
    del rows
    text = methods.page()
    assert text.startswith(ABOVE + methods.HEADING) and "stood here before" not in text
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        f"### {title}" for title in methods.SWEEPS.values()
    ]
    methods.PAGE.write_text(text)
    assert methods.page() == text


def test_a_row_is_a_method_over_its_seeds_and_kd_s_sweep_stands_below(
    rows: Callable[[str], dict[str, list[str]]],
) -> None:
    found = rows("mnist5k")
    assert list(found) == ["PGD-AT", "TRADES", "Free", "KD"]
    # 180 and 216 of 360 images: 50 and 60 %, mean 55, sample deviation 10 / sqrt(2).
    assert found["PGD-AT"][2] == "55.00 (±7.07)"
    assert list(rows("mnist_m")) == ["PGD-AT"]


def test_seeds_and_methods_that_were_not_run_are_missing(rows: Callable[[str], dict[str, list[str]]]) -> None:
    found = rows("mnist5k")
    assert found["Free"] == ["missing"] * 4
    assert all("1 of 2 seeds" in cell for cell in found["TRADES"])


def test_a_flag_is_marked_in_its_cell_and_explained_below(
    rows: Callable[[str], dict[str, list[str]]],
) -> None:
    found = rows("mnist5k")
    assert found["TRADES"][2].startswith("40.00†") and "†" not in "".join(found["PGD-AT"])
    assert "† the evaluation raised the flag 'zero_gradient'" in methods.page()


def test_an_epoch_takes_what_it_took_alone_where_that_was_measured(
    rows: Callable[[str], dict[str, list[str]]],
) -> None:
    found = rows("mnist5k")
    assert found["PGD-AT"][3] == "4.0", "not 10 and 15, as beside the other runs"
    assert found["TRADES"][3].startswith("11.0") and found["KD"][3] == "20.0"
