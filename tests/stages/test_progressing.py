"""What an evaluation says of its progress, by a scripted clock: images that each column has, paces of those that stand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from advarch.evaluation.outcomes import RIGHT, Outcome
from advarch.records import Progress
from advarch.runs.columns import ColumnPlan
from advarch.stages import columns, progressing
from advarch.stages.progressing import Progressing, Work, gradients


class Script:
    """An evaluation without networks: columns of images, a clock that is told how long a batch takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, works: dict[str, Work]) -> None:
        self.now = 0.0
        self.told: list[Progress] = []
        monkeypatch.setattr(progressing, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.file: Any = SimpleNamespace(outcomes={}, settings={}, save_sometimes=lambda: None)
        self.progressing = Progressing(self.told.append, works, SimpleNamespace(wanted=lambda: False))  # type: ignore[arg-type]

    def known(self, key: str, images: int) -> None:
        """A column that an earlier attempt has finished."""
        self.file.outcomes[key], self.file.settings[key] = (
            Outcome.unknown(np.arange(images)),
            self.progressing.works[key].settings,
        )
        self.file.outcomes[key].correct[:] = RIGHT

    def run(
        self,
        key: str,
        images: int,
        seconds: float,
        *,
        batch: int,
        standing: np.ndarray | None = None,
        mine: np.ndarray | None = None,
    ) -> list[float | None]:
        """Run a column, `seconds` for each image that stands; what was told of the time left after each batch."""
        outcome = self.file.outcomes[key] = Outcome.unknown(np.arange(images))
        mine = np.ones(images, bool) if mine is None else mine
        step = self.progressing.step(self.file, key, mine, standing)
        said = len(self.told)
        for start in range(0, images, batch):
            rows = np.flatnonzero(mine)[start : start + batch]
            if len(rows):
                outcome.correct[rows] = RIGHT
                self.now += seconds * (len(rows) if standing is None else int(standing[rows].sum()))
                step()
        self.progressing.done += int(mine.sum())
        self.file.settings[key] = self.progressing.works[key].settings
        return [progress.seconds_left for progress in self.told[said:]]


def work(images: int, taken: int | None = None) -> Work:
    return Work(images, taken, "settings")


def test_a_column_is_paced_by_its_own_images_that_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, {"best/clean": work(100), "best/aa": work(4)})
    assert script.run("best/clean", 100, 0.01, batch=50) == [None, None], (
        "nobody knows yet what the attack takes"
    )
    standing = np.array([True, False, True, True])
    assert script.run("best/aa", 4, 30, batch=1, standing=standing) == [60, 60, 30, 0]
    assert [progress.step for progress in script.told] == [50, 100, 101, 102, 103, 104]
    assert {progress.total for progress in script.told} == {104}


def test_columns_to_come_are_guessed_by_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    works = {"best/pgd10": work(10, 10), "best/pgd100": work(6, 100), "best/fgsm": work(10, 1)}
    script = Script(monkeypatch, works)
    standing = np.arange(10) < 5
    # 1 s a standing image is 0.1 s a gradient, and half of the images stand.
    found = script.run("best/pgd10", 10, 1.0, batch=5, standing=standing)
    assert found == pytest.approx([6 / 2 * 10 + 5 * 0.1] * 2)
    # Measured anew: 5 s a standing image, all stand.
    assert script.run("best/pgd100", 6, 5.0, batch=3) == pytest.approx([15 + 10 * 0.05, 10 * 0.05])


def test_a_column_that_another_checkpoint_had_keeps_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    works = {key: work(4) for key in ("best/clean", "best/aa", "last/clean", "last/aa")}
    script = Script(monkeypatch, works)
    script.run("best/clean", 4, 0.5, batch=4)
    assert script.run("best/aa", 4, 10, batch=2) == [20 + 2 + 40, 2 + 40]
    assert script.run("last/clean", 4, 1.0, batch=2) == [2 + 40, 40]


def test_nothing_is_said_while_a_column_to_come_is_of_unknown_length(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, {"best/pgd": work(4, 10), "best/aa": work(4), "best/fgsm": work(4, 1)})
    assert script.run("best/pgd", 4, 1.0, batch=2) == [None, None]
    assert script.run("best/aa", 4, 7.0, batch=2) == pytest.approx([14 + 0.4, 0.4])


def test_columns_that_are_done_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, {"best/pgd": work(4, 10), "best/aa": work(4)})
    script.known("best/aa", 4)
    assert script.run("best/pgd", 4, 1.0, batch=2) == [2, 0]


def test_where_none_of_the_images_so_far_stood_there_is_no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, {"best/aa": work(3)})
    standing = np.array([False, True, True])
    assert script.run("best/aa", 3, 4.0, batch=1, standing=standing) == [None, 4, 0]


def test_only_this_process_s_images_count(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, {"best/aa": work(2)})
    mine = np.array([False, True, False, True])
    assert script.run("best/aa", 4, 3.0, batch=1, mine=mine) == [3, 0]
    assert [(progress.step, progress.total) for progress in script.told] == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("node", "source", "expected"),
    [
        ({"_target_": "advarch.attacks.pgd.pgd", "steps": 20, "restarts": 3}, "", 60),
        ({"_target_": "advarch.attacks.fgsm.fgsm"}, "", 1),
        ({"_target_": "advarch.attacks.pgd.pgd", "steps": 20, "stop_on_success": True}, "", None),
        ({"_target_": "advarch.attacks.pgd.pgd", "steps": 20}, "outputs/single/other", None),
        ({"_target_": "advarch.attacks.square.square", "queries": 5000}, "", None),
        ({"_target_": "advarch.attacks.sequence.sequence", "attacks": {}}, "", None),
        ({}, "", None),
    ],
)
def test_gradients_are_known_of_attacks_that_take_all_their_steps(
    node: dict[str, Any], source: str, expected: int | None
) -> None:
    assert gradients(ColumnPlan("a", "", "a", node, source=source)) == expected


def test_a_share_and_a_process_have_the_images_that_they_attack() -> None:
    plans = {
        "clean": ColumnPlan("clean", "1"),
        "aa": ColumnPlan("aa", "2", "aa", share=0.04),
        "worst": ColumnPlan("worst", "3"),
    }
    bench: Any = SimpleNamespace(
        columns=plans, index=np.arange(100), labels=np.arange(100) % 10, seed=0, own_index=None
    )
    assert columns.works(bench, ["best", "last"]) == {
        f"{checkpoint}/{name}": Work(images, None, settings)
        for checkpoint in ("best", "last")
        for name, images, settings in (("clean", 100, "1"), ("aa", 4, "2"))
    }
    bench.own_index = columns._index(bench, plans["aa"])[:1]
    assert [work.images for work in columns.works(bench, ["best"]).values()] == [1, 1]
