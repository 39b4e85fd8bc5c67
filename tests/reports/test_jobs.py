"""Which run is which job: told by settings, by names at a smaller scale, never by half of them."""

from typing import Any

from advarch.records import RunRecord
from advarch.reports.jobs import assigned


def run(name: str, config: dict[str, Any], **sweep: Any) -> RunRecord:
    return RunRecord(
        name, name, {"seed": 0, "choices": {"defense": "pgd_at"}, **config, "sweep": sweep}, "done"
    )


def told(points: list[dict[str, Any]], runs: list[RunRecord]) -> list[str]:
    """The name of each job's run, or its state."""
    jobs, _ = assigned(points, runs)
    return [job.name if job.state == "done" else job.state for job in jobs]


def test_points_of_more_settings_choose_first() -> None:
    points: list[dict[str, Any]] = [
        {"defense": "pgd_at"},
        {"defense": "pgd_at", "averaging": "ema"},
        {"defense": "mart"},
    ]
    plain = run("plain", {"averaging": None})
    ema = run("ema", {"choices": {"defense": "pgd_at", "averaging": "ema"}})
    assert told(points, [plain, ema]) == ["plain", "ema", "missing"]
    assert told(points, [ema, plain]) == ["plain", "ema", "missing"]
    jobs, others = assigned(points, [ema, plain])
    assert jobs[2].config["choices"]["defense"] == "mart" and others == []


def test_a_run_of_another_name_is_no_job() -> None:
    points = [{"sweep.model": "a", "lr": 1}, {"sweep.model": "b", "lr": 2}]
    runs = [run("a", {"lr": 1}, model="a"), run("b typed otherwise", {"lr": 1}, model="b")]
    jobs, others = assigned(points, runs)
    assert [job.config["sweep"]["model"] for job in jobs] == ["a", "b"]
    assert [job.state for job in jobs] == ["done", "missing"] and others == runs[1:]


def test_one_run_under_two_names() -> None:
    points = [
        {"sweep.stage": 1, "depths": [5, 5]},
        {"sweep.stage": 2, "depths": [5, 5]},
        {"sweep.stage": 2, "depths": [5, 9]},
    ]
    runs = [run("both", {"depths": [5, 5]}, stage=2), run("one", {"depths": [5, 9]}, stage=2)]
    jobs, _ = assigned(points, runs)
    assert [job.name for job in jobs] == ["both", "both", "one"]
    assert [job.config["sweep"]["stage"] for job in jobs] == [1, 2, 2]


def test_at_a_smaller_scale_by_name() -> None:
    points = [{"sweep.model": name, "depths": [5, 5], "seed": seed} for name in "ab" for seed in (0, 1)]
    small = {"depths": [1, 1], "choices": {"scale": "smoke"}}
    runs = [run("b", small, model="b"), run("a", small, model="a")]
    assert told(points, runs) == ["a", "missing", "b", "missing"]


def test_labels_follow_the_settings_of_a_missing_job() -> None:
    points = [{"net.depths": [1, 2]}, {"net.depths": [3, 4]}]
    jobs, _ = assigned(points, [run("there", {"net": {"depths": [1, 2]}}, depths=[1, 2])])
    assert [job.config["sweep"]["depths"] for job in jobs] == [[1, 2], [3, 4]]
    assert [job.state for job in jobs] == ["done", "missing"]


def test_typed_axes_are_counted() -> None:
    points = [{"lr": 1}, {"lr": 2}, {"lr": 3}]
    jobs, others = assigned(points, [run("x", {"lr": 7}), run("y", {"lr": 8})])
    assert [job.state for job in jobs] == ["done", "done", "missing"] and others == []
