"""Every sweep: its jobs compose and bind at the paper's scale, each printed row stands beside one of ours, its table renders."""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from advarch.cli.compose import planned_jobs
from advarch.launch.grid import points
from advarch.records import AttackResult, EvalRecord, Size, TrainRecord
from advarch.reports.published import read_published
from advarch.reports.rows import label
from advarch.reports.shape import read_shape
from advarch.reports.table import build
from advarch.reports.text import csv_text, markdown
from advarch.runs.binding import bind
from advarch.runs.columns import plan
from advarch.runs.config import data_root

JOBS = {
    "demo": 8,
    "defenses": {"mnist5k": 51, "mnist5k_kd": 6, "mnist_m": 48, "mnist_m_kd": 6},
    "results": {"cifar10": 8},
    "search": {"digits_truth": 96, "digits_found": 35},
    "robustwrn": {
        "fig1b": 125, "fig2abc": 15, "fig2d": 9, "fig3abc": 15, "fig3d": 5, "section43": 29, "table1": 5, "fig4": 15,
        "fig5": 11, "table2": 20,
    },
    "dsnet": {
        "table1": 12, "table2": 42, "table3": 24, "table4": 15, "table5": 48, "table6": 15, "fig4": 30, "fig5": 18,
        "fig6": 11, "fig7": 4, "fig8": 12,
    },
    "racl": {
        "table1": 15, "table2": 9, "table3": 20, "table4": 5, "table5": 5, "table6": 5, "table7": 25, "table8": 6, "fig3": 1,
        "fig4": 5, "fig5": 4,
    },
    "nadar": {
        "table1": 16, "table2": 7, "table3": 6, "table4": 6, "table5": 2, "table6": 9, "table7": 6, "table8": 6, "table9": 9,
        "fig3": 2, "fig4": 8,
    },
    "robnet": {
        "table1": 9, "table2": 6, "table3": 12, "table4": 3, "table6": 4, "table7": 12, "table8": 6, "fig1": 12, "fig3": 1,
        "fig4": 1, "fig5": 1, "fig6": 4, "fig7": 1, "fig8": 1, "fig9": 4, "fig10": 6,
    },
}  # fmt: skip
"""Jobs of every sweep: those of five papers' tables and figures, and the house's own."""

FLAT: dict[str, int] = {}
for _group, _jobs in JOBS.items():
    FLAT |= (
        {f"{_group}/{name}": n for name, n in _jobs.items()} if isinstance(_jobs, dict) else {_group: _jobs}
    )

SHARED = {"robustwrn/fig2abc": 13, "robustwrn/fig3abc": 13, "robustwrn/fig4": 13}
"""Sweeps in which a network stands in several panels and is one run: the runs there are."""

PAPERS = {"robustwrn": 10, "dsnet": 11, "racl": 11, "nadar": 11, "robnet": 16}

FOLDER, CONF = data_root("sweeps"), data_root("conf")
SWEEPS = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
SWEEPS = [name for name in SWEEPS if name != "none"]


@cache
def described(name: str) -> dict[str, Any]:
    """A sweep's file as plain dicts and lists; composing each takes Hydra half a second for every choice of groups."""
    file = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    assert isinstance(file, dict)
    return {str(key): value for key, value in file.items()}


def choices(name: str) -> set[tuple[str, str]]:
    """Every choice of a group in a sweep's file: in its defaults, and in its points."""
    file = described(name)
    entries = [*file["defaults"], *(file["sweep"].get("points") or [])]
    return {
        (key.removeprefix("override ").strip("/").partition("@")[0], str(value))
        for entry in entries
        for key, value in entry.items()
        if "." not in key or "@" in key
    }


def missing(name: str) -> list[str]:
    """Choices of a sweep that are not there."""
    return sorted(
        f"{group}/{choice}"
        for group, choice in choices(name)
        if not (CONF / group / f"{choice}.yaml").exists()
    )


every_sweep = pytest.mark.parametrize("name", SWEEPS)
every_composed = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xdist_group(name))
        for name in SWEEPS
    ],
)  # fmt: skip


@cache
def jobs_of(name: str) -> tuple:
    return tuple(planned_jobs([f"+sweep={name}"]))


def test_the_sweeps_are_those_of_the_papers() -> None:
    assert sorted(FLAT) == SWEEPS
    assert {paper: len(JOBS[paper]) for paper in PAPERS} == PAPERS and sum(PAPERS.values()) == 59


@every_sweep
def test_a_sweep_has_its_jobs_and_names_choices_that_are_there(name: str) -> None:
    assert len(points(described(name)["sweep"])) == FLAT[name]
    assert not missing(name)
    assert {group for group, _ in choices(name)} <= {path.name for path in CONF.iterdir()}


@every_sweep
def test_a_sweep_s_printed_rows_stand_beside_ours(name: str) -> None:
    sweep = described(name)["sweep"]
    shape = read_shape(sweep)
    lines = read_published(sweep, shape)
    if not lines:
        return
    own = {"sweep.depths": "backbone.depths"}
    ours = [
        tuple(label(point[own.get(key, key)], key) for key in shape.rows)
        for point in points({**sweep, "seeds": None})
    ]
    assert len(set(ours)) == len(ours), "each row has a label of its own"
    assert not [line.labels for line in lines if line.run and line.labels not in ours], "a slip in a label"
    assert all(line.note and line.labels not in ours for line in lines if not line.run), (
        "it says why it can't be run"
    )


@pytest.mark.slow
@every_composed
def test_every_job_of_a_sweep_composes_and_binds_into_its_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    jobs = jobs_of(name)
    assert len(jobs) == FLAT[name]
    assert len({job.folder.path.name for job in jobs}) == SHARED.get(name, len(jobs))
    assert {job.folder.path.parent.name for job in jobs} == {name.replace("/", "-")}
    for job in jobs:
        assert bind(job.config)["choices"]["scale"] == "paper"


@pytest.mark.slow
@every_composed
def test_a_sweep_s_table_renders_with_missing_done_and_flagged_cells(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = jobs_of(name)
    sweep = jobs[0].config["sweep"]
    absent = [job.folder.record(job.config) for job in jobs]
    table = build(sweep, absent)
    alone = [row for row in table.rows if not row.jobs]
    rows = len(jobs) // max(1, len(sweep["seeds"])) * len(sweep["checkpoints"])
    assert len(table.rows) == rows + len(alone)
    assert all(row.state == "missing" for row in table.rows) and "missing" in markdown(table)
    table = build(sweep, [finished(absent[0], sweep), *absent[1:]])
    text = markdown(table)
    assert "12.30" in text and "zero_gradient" in text and ("missing" in text or len(jobs) == 1)
    assert ("4,321" in text) == ("parameters" in sweep["columns"])
    assert [row.state for row in table.rows].count("missing") == len(table.rows) - len(sweep["checkpoints"])
    assert len(csv_text(table).splitlines()) == 1 + len(table.rows)


def finished(record: Any, sweep: dict[str, Any]) -> Any:
    """The record as if its job were done: 123 of 1,000 right in every column, the last one flagged."""
    columns = plan(record.config)
    flagged = [column for column in sweep["columns"] if column in columns][-1]
    results = [
        AttackResult(c, 123, 1000, 0.1, 0.15, None, None, 9, 1.0, ("zero_gradient",) * (c == flagged))
        for c in columns
    ]
    evaluations = {c: EvalRecord(c, "digits", "inf", 0.2, tuple(results)) for c in sweep["checkpoints"]}
    trained = TrainRecord(2, 1, 0.5, 0.4, 9.0, 50.0, "cpu")
    return dataclasses.replace(
        record, state="done", size=Size(4321, 8765), train=trained, evaluations=evaluations
    )
