"""Whatever happens to a row, the files hold what was measured."""

import json
from pathlib import Path

import pytest
import torch

from advarch.bench import charts
from advarch.bench import measure as module
from advarch.bench.bench import Bench
from advarch.bench.measure import FILES, ROWS, measure
from advarch.bench.row import Row
from advarch.bench.sizes import CPU
from advarch.cli import bench as verb
from advarch.errors import Interrupted


def fails() -> Row:
    raise RuntimeError("out of memory")


def stops() -> Row:
    raise Interrupted(2)


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *actions) -> tuple[list[str], bool]:
    cases = [(f"row {number}", action) for number, action in enumerate(actions)]
    monkeypatch.setattr(module, "ROWS", {"mine": lambda bench: iter(cases)})
    for picture in ("ratios", "cost"):
        monkeypatch.setattr(charts, picture, lambda found: b"drawn")
    said: list[str] = []
    bench = Bench(torch.device("cpu"), CPU, said.append, lambda _: pytest.fail("no run is made"))
    found, fine = measure(bench, ["mine"], out, quick=False)
    assert said == [name for name, _ in cases]
    return [note for row in found.rows for note in row.notes], fine


def names(out: Path) -> list[str]:
    return [row["name"] for row in json.loads((out / FILES[0]).read_text())["rows"]]


def test_a_failed_row_says_so_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    notes, fine = run(monkeypatch, tmp_path, fails, lambda: Row("row 1", {"x": 1.0}))
    assert notes == ["failed: RuntimeError: out of memory"] and not fine
    assert names(tmp_path) == ["row 0", "row 1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES[:3])


def test_a_stop_leaves_what_was_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(monkeypatch, tmp_path, lambda: Row("row 0", {"x": 1.0}), stops, fails)
    assert names(tmp_path) == ["row 0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES[:3])


def test_the_command_knows_the_rows_without_importing_them() -> None:
    assert tuple(ROWS) == verb.ROWS
