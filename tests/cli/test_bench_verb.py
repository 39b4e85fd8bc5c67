"""The words after `advarch bench`."""

import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from advarch.bench import charts
from advarch.bench import measure as module
from advarch.bench.row import Row
from advarch.cli.bench import ROWS, Asked, _train, asked
from advarch.cli.main import main
from advarch.errors import Interrupted


def test_rows_come_in_their_own_order() -> None:
    assert asked([]) == Asked(None, ROWS, False, Path("outputs"))
    found = asked(["rows=[search,training]", "quick=true", "device=cpu", "out=there"])
    assert found == Asked("cpu", ("training", "search"), True, Path("there"))
    assert asked(["rows=memory"]).rows == ("memory",)


@pytest.mark.parametrize(
    "argument, said",
    [
        ("fast", "bench: expected some of device=, rows=, quick=, out=, came 'fast'"),
        ("rounds=3", "bench: expected some of device=, rows=, quick=, out=, came 'rounds=3'"),
        ("device=tpu", "device: expected cpu or cuda, came 'tpu'"),
        ("rows=training,speed", "rows: expected some of startup, peak,"),
        ("rows=[]", "came none"),
        ("quick=yes", "quick: expected true or false, came 'yes'"),
        ("out=", "out: expected a folder, came ''"),
    ],
)
def test_bad_input_is_one_line(argument: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", argument]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("advarch: error: ") and said in line


def test_a_gpu_has_to_be_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["bench", "device=cuda"]) == 2
    assert "torch finds no GPU here" in capsys.readouterr().err


def test_ctrl_c_is_said_with_where_the_figures_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops() -> Row:
        # File systems keep coarse time: what is written at once may seem older than the start.
        os.utime(tmp_path / "bench.json", (1, 1))
        raise Interrupted(2)

    rows = {"startup": lambda bench: iter([("one", lambda: Row("one", {"x": 1.0})), ("two", stops)])}
    monkeypatch.setattr(module, "ROWS", rows)
    for picture in ("ratios", "cost"):
        monkeypatch.setattr(charts, picture, lambda found: b"drawn")
    assert main(["bench", "device=cpu", "rows=startup", f"out={tmp_path}"]) == 130
    assert f"what was measured is in {tmp_path / 'bench.json'}" in capsys.readouterr().err
    assert (tmp_path / "bench.json").exists() and not (tmp_path / "bench_work.png").exists()


@pytest.mark.parametrize("at", [1, 2**32])
def test_stopped_before_the_first_row_no_file_is_promised(
    at: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stops() -> Row:
        raise Interrupted(2)

    (tmp_path / "bench.json").write_text("an earlier one's")
    os.utime(tmp_path / "bench.json", (at, at))
    monkeypatch.setattr(module, "ROWS", {"startup": lambda bench: iter([("one", stops)])})
    assert main(["bench", "device=cpu", "rows=startup", f"out={tmp_path}"]) == 130
    assert "nothing was measured yet" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["/proc/nowhere", "{tmp}/file/below"])
def test_a_folder_that_can_t_be_written_is_told_before_anything_is_measured(
    place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(module, "ROWS", {"startup": lambda bench: pytest.fail("measured")})
    assert main(["bench", "device=cpu", "rows=startup", f"out={place.format(tmp=tmp_path)}"]) == 2
    assert "out: expected a folder that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("code, number", [(130, signal.SIGINT), (79, signal.SIGTERM)])
def test_a_run_that_was_told_to_stop_stops_the_bench(
    code: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = SimpleNamespace(
        folder=SimpleNamespace(path=Path("run"), curves=lambda: [{"images_per_second": 7.0}])
    )
    monkeypatch.setattr("advarch.cli.compose.planned_jobs", lambda overrides, check: [planned])
    monkeypatch.setattr("advarch.cli.run.write", lambda planned: None)
    monkeypatch.setattr("advarch.cli.job.main", lambda arguments: code)
    with pytest.raises(Interrupted) as told:
        _train([])
    assert told.value.number == number
    monkeypatch.setattr("advarch.cli.job.main", lambda arguments: 0)
    assert _train([]) == (Path("run"), 7.0)
    monkeypatch.setattr("advarch.cli.job.main", lambda arguments: 1)
    assert math.isnan(_train([])[1])
