"""Told to stop at any moment of a training, it goes on from there, to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.lit.ranks_driver import Remembering, train

MOMENTS = 2 * (4 + 4)
"""In each of two epochs: after each of five batches but the last, and after each of four batches of validation."""

TIMED = {"seconds", "images_per_second"}


class Told:
    """A process that is told to stop at its n-th good moment."""

    def __init__(self, moment: int) -> None:
        self.left, self.saved = moment, False

    @property
    def number(self) -> int | None:
        self.left -= 1
        return 10 if self.left <= 0 else None

    def listen(self) -> None:
        pass

    def moment(self) -> None:
        pass

    def saving(self) -> None:
        self.saved = True


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    rows = [{name: value for name, value in row.items() if name not in TIMED} for row in found["rows"]]
    return {**found, "rows": rows, "error": 0}


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a["error"] == b["error"] == ""
    torch.testing.assert_close(comparable(a), comparable(b), rtol=0, atol=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """The training that nobody stops, with each batch once and with each batch three times in a row."""
    root = tmp_path_factory.mktemp("whole")
    return {times: train(root / str(times), Remembering(), epochs=2, times=times) for times in (1, 3)}


@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
def test_stopped_at_any_moment_it_ends_with_the_same_bits(
    tmp_path: Path, whole: dict[int, Any], moment: int
) -> None:
    folder, told = tmp_path / "run", Told(moment)
    stopped = train(folder, Remembering(), epochs=2, process=told)
    epoch, within = divmod(moment - 1, 8)
    assert stopped["error"] == "Interrupted 10" and told.saved
    assert stopped["step"] == 5 * epoch + min(within + 1, 5) and len(stopped["rows"]) == epoch
    resumed = train(folder, Remembering(), epochs=2, resume=True)
    assert_same(resumed, whole[1])
    written = [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    assert written == ["epoch", "1", "2"]


def test_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    train(tmp_path / "run", Remembering(), epochs=2, process=Told(3))
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(path, weights_only=True)
    (name,) = (name for name in saved["callbacks"] if "EpochRecord" in name)
    saved["callbacks"][name]["seconds"] += 1000.0
    torch.save(saved, path)
    rows = train(tmp_path / "run", Remembering(), epochs=2, resume=True)["rows"]
    assert 1000 < rows[0]["seconds"] < 1100 and rows[1]["seconds"] < 100
    assert rows[0]["images_per_second"] == pytest.approx(40 / rows[0]["seconds"])


@pytest.mark.parametrize("moment", [1, 2, 3, 7, 14])
def test_in_the_middle_of_a_batch_s_replays_too(tmp_path: Path, whole: dict[int, Any], moment: int) -> None:
    folder = tmp_path / "run"
    assert train(folder, Remembering(), epochs=2, times=3, process=Told(moment))["step"] == moment
    assert_same(train(folder, Remembering(), epochs=2, times=3, resume=True), whole[3])


def test_stopped_again_and_again_it_still_gets_there(tmp_path: Path, whole: dict[int, Any]) -> None:
    folder = tmp_path / "run"
    steps = []
    for _ in range(40):
        resume = (folder / "checkpoints" / "last.ckpt").exists()
        found = train(folder, Remembering(), epochs=2, resume=resume, process=Told(6))
        steps.append(found["step"])
        if not found["error"]:
            break
    assert_same(found, whole[1])
    assert len(steps) > 2 and steps == sorted(steps)
