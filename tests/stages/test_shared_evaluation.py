"""An evaluation by several processes, here one after the other: every image once, and the numbers of one process."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advarch.errors import Interrupted, RunFailed
from advarch.evaluation.outcomes import COST, UNKNOWN, Outcome, load_outcomes
from advarch.launch.ranks import Place
from advarch.launch.signals import StopRequest
from advarch.records import EvalRecord
from advarch.stages import shares
from advarch.stages.evaluate import run_evaluation
from advarch.stages.job import Job
from tests.stages.test_evaluation_stage import job

TIMELESS = [COST.index(name) for name in COST if name != "seconds"]


class StopAfter(StopRequest):
    """A process told to stop after so many batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches

    def wanted(self) -> bool:
        self.batches -= 1
        if self.batches == 0:
            self.number = 15
        return self.number is not None


def at(made: Job, rank: int, count: int, stop: StopRequest | None = None) -> Job:
    return replace(made, place=Place(rank, count, rank), stop=stop or StopRequest())


def made(root: Path) -> Job:
    return job(
        root, "dataset.limit=57", "+evaluation.shares.fgsm=0.4", "evaluation.attacks.pgd20.steps=3",
        "+attack@evaluation.attacks.sequence=autoattack_rand", "evaluation.gallery=3", "evaluation.batch_size=10",
        *(f"evaluation.attacks.sequence.attacks.{part}.{light}"
          for part in ("apgd_ce", "apgd_dlr") for light in ("steps=2", "eot_samples=1", "restarts=1")),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def always_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SAVE_SECONDS", 0.0)
    monkeypatch.setenv("MASTER_PORT", "1")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alone")


def by_one(alone: Path) -> tuple[dict[str, Outcome], dict[str, EvalRecord]]:
    one = made(alone)
    if not (one.folder.path / "evaluation.json").exists():
        run_evaluation(one)
    return outcome_of(one)


def outcome_of(one: Job) -> tuple[dict[str, Outcome], dict[str, EvalRecord]]:
    found = one.folder.evaluation()
    assert found is not None
    return load_outcomes(one.folder.path / "outcomes.npz")[0], found.checkpoints


def assert_same(shared: Job, alone: Path) -> None:
    (ours, mine), (theirs, other) = outcome_of(shared), by_one(alone)
    assert ours.keys() == theirs.keys()
    for key, outcome in theirs.items():
        for name in ("index", "correct", "distance", "felled_by"):
            assert np.array_equal(
                getattr(ours[key], name), getattr(outcome, name), equal_nan=name == "distance"
            )
        assert np.array_equal(ours[key].cost[TIMELESS], outcome.cost[TIMELESS]), key
        assert np.array_equal(ours[key].part_cost[:, TIMELESS], outcome.part_cost[:, TIMELESS])
    assert mine.keys() == other.keys()
    for name, record in other.items():
        assert timeless(mine[name]) == timeless(record)
    left = [path.name for path in shared.folder.path.glob(".*")]
    assert left == []


def timeless(record: EvalRecord) -> EvalRecord:
    results = []
    for result in record.results:
        parts = tuple(replace(part, seconds=0.0) for part in result.parts)
        results.append(replace(result, seconds=0.0, parts=parts))
    return replace(record, results=tuple(results))


@pytest.mark.parametrize("count", [2, 4, 7])
def test_several_processes_find_what_one_finds(tmp_path: Path, alone: Path, count: int) -> None:
    shared = made(tmp_path)
    for rank in range(1, count):
        run_evaluation(at(shared, rank, count))
        assert not (shared.folder.path / "evaluation.json").exists()
    run_evaluation(at(shared, 0, count))
    assert_same(shared, alone)


def stopped(shared: Job, places: Sequence[tuple[int, int]], batches: int) -> None:
    for rank, count in places:
        with pytest.raises(Interrupted):
            run_evaluation(at(shared, rank, count, StopAfter(batches)))


@pytest.mark.parametrize("batches", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_stopped_processes_did_is_not_done_again_by_any_number(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, count: int, batches: int
) -> None:
    shared = made(tmp_path)
    stopped(shared, [(1, 2), (0, 2)], batches)
    monkeypatch.setenv("MASTER_PORT", "2")
    stopped(shared, [(2, 3), (0, 3)], 1)
    monkeypatch.setenv("MASTER_PORT", "3")
    for rank in reversed(range(count)):
        run_evaluation(at(shared, rank, count))
    assert_same(shared, alone)


def test_the_same_process_goes_on_with_its_part(tmp_path: Path, alone: Path) -> None:
    shared = made(tmp_path)
    stopped(shared, [(1, 2)], 3)
    run_evaluation(at(shared, 1, 2))
    run_evaluation(at(shared, 0, 2))
    assert_same(shared, alone)


def test_the_first_one_does_not_wait_for_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "SILENCE", 0.3)
    shared = made(tmp_path)
    with pytest.raises(RunFailed, match="no sign of life"):
        run_evaluation(at(shared, 0, 2))
    found, _ = load_outcomes(shared.folder.path / "outcomes.npz")
    assert 0 < (found["last/clean"].correct != UNKNOWN).sum() < 57


def test_told_to_stop_while_it_waits(tmp_path: Path) -> None:
    class Later(StopRequest):
        asked = 0

        def check(self) -> None:
            self.asked += 1
            self.number = 15 if self.asked > 3 else None
            super().check()

    with pytest.raises(Interrupted):
        run_evaluation(at(made(tmp_path), 0, 2, Later()))


def test_images_of_all_processes_lie_in_one_file(tmp_path: Path) -> None:
    found = []
    for count in (1, 2):
        shared = job(tmp_path / str(count), "dataset.limit=57", "evaluation.save_images=true")
        for rank in reversed(range(count)):
            run_evaluation(at(shared, rank, count))
        found.append(np.load(shared.folder.path / "images" / "last" / "fgsm.npy"))
    assert np.array_equal(found[0], found[1], equal_nan=True) and np.isfinite(found[0]).any()
