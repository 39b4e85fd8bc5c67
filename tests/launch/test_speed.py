"""How fast a job is expected to be: measured on the same device before assumed, and named by where it comes from."""

import json
from pathlib import Path

import pytest

from advarch.files import write_atomic
from advarch.launch.speed import GPUS, SHARE, measured_speeds, speed_of
from advarch.records import Size, TrainRecord, dump
from advarch.runs.folder import RunFolder


def config(accelerator: str = "auto", precision: str = "fp32") -> dict[str, object]:
    return {"trainer": {"accelerator": accelerator, "precision": precision}}


def test_an_assumption_is_the_same_share_of_every_peak() -> None:
    assert SHARE * GPUS["a100"][1] / 2 == pytest.approx(10)
    assert speed_of(config("gpu"), {}).macs == pytest.approx(5e12)
    assert speed_of(config("gpu", "bf16"), {}).macs == pytest.approx(10e12)
    h100 = speed_of(config(), {}, "h100")
    assert h100.macs == pytest.approx(10e12 * 494.7 / 312.0)
    assert "6.4% of one H100's peak in 32 bits; nothing is measured here yet" in h100.source
    assert speed_of(config(), {}).device == "cpu"


def test_cells_are_assumed_as_slow_as_pc_darts_search_was_and_measurements_stay() -> None:
    # 3.54e14 multiply-adds in 0.1 days is 0.041 T a second; a V100 without tensor cores is assumed near it.
    assert speed_of(config(), {}, "v100", separable=True).macs == pytest.approx(3.54e14 / 8640, rel=0.25)
    assert speed_of(config(), {}, separable=True).macs == speed_of(config(), {}).macs / 10
    assert speed_of(config("gpu"), {"NVIDIA A100": 4e12}, separable=True).macs == 4e12


def test_what_is_measured_on_another_device_says_nothing() -> None:
    measured = {"cpu": 1e9, "NVIDIA H100 80GB HBM3": 4e13, "NVIDIA GeForce RTX 3090": 6e12}
    assert speed_of(config(), measured).macs == 1e9
    assert speed_of(config(), measured, "h100").macs == 4e13
    assert "measured in finished runs here on NVIDIA H100" in speed_of(config(), measured, "h100").source
    assert speed_of(config(), measured, "rtx3090").macs == 6e12
    assert "nothing is measured" in speed_of(config(), measured, "a100").source
    # Any GPU will do where none is named.
    assert speed_of(config("gpu"), measured).macs == 4e13
    assert "nothing is measured" in speed_of(config("gpu"), {"cpu": 1e9}).source


def test_the_speed_of_finished_runs_is_their_work_over_their_time_by_device(tmp_path: Path) -> None:
    # FreeAT takes three passes an image: 7 images/s for 10 s and 1 for 30 s, at 100 multiply-adds a pass.
    for name, gpu, rate, seconds in (
        ("a", None, 7.0, 10.0),
        ("b", None, 1.0, 30.0),
        ("c", "NVIDIA H100", 50.0, 2.0),
    ):
        finished(tmp_path / name, gpu, rate, seconds)
    (tmp_path / "unfinished").mkdir()
    speeds = measured_speeds([RunFolder(tmp_path / "a")], tmp_path)
    assert speeds == {"cpu": pytest.approx(300 * (70 + 30) / 40), "NVIDIA H100": pytest.approx(300 * 50)}


def finished(folder: Path, gpu: str | None, rate: float, seconds: float) -> None:
    folder.mkdir()
    run = {
        "defense": {"_target_": "advarch.defenses.free.Free"},
        "attack": {},
        "backbone": {},
        "stages": [],
        "evaluation": {},
        "analysis": {},
    }
    RunFolder(folder).write_config(run)
    write_atomic(
        folder / "train.json", dump(TrainRecord(1, 1, 0.5, 0.5, seconds, rate, "cuda:0" if gpu else "cpu"))
    )
    write_atomic(folder / "size.json", dump(Size(1, 100)))
    write_atomic(folder / "provenance.json", json.dumps({"attempts": [{"gpu": "other"}, {"gpu": gpu}]}))
