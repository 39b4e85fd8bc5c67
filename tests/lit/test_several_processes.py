"""Two processes of half a batch each train as one process of the whole batch; they stop together; memory is shared."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from advarch.errors import InputError
from advarch.launch.ranks import environments, supervise
from advarch.lit.trainer import make_trainer
from tests.lit.ranks_driver import leave

DRIVER = Path(__file__).with_name("ranks_driver.py")
CASES = ["pgd_at", "trades", "memory", "stopped", "resumed", "nan"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], dict[str, Any]]:
    """(processes, rank) -> what each case left there."""
    found = {}
    for count in (1, 2):
        out = tmp_path_factory.mktemp(f"of{count}")
        command = [sys.executable, str(DRIVER), str(out)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        if count == 1:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("WORLD_SIZE", "1")
                leave(out)
        else:
            assert supervise(command, environments(count, 1, environment)).code == 0
        for rank in range(count):
            found[count, rank] = {
                name: torch.load(out / f"{name}-{rank}.pt", weights_only=True) for name in CASES
            }
            found[count, rank]["folder"] = out
    return found


pytestmark = pytest.mark.xdist_group("ranks")


def far(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("case", ["pgd_at", "trades", "memory"])
def test_two_processes_give_the_weights_of_one(seen: dict[tuple[int, int], Any], case: str) -> None:
    one, first, second = (seen[key][case] for key in ((1, 0), (2, 0), (2, 1)))
    assert one["step"] == first["step"] == 20
    assert far(one["weights"], first["weights"]) < (1e-6 if case == "memory" else 1e-9)
    assert far(first["weights"], second["weights"]) == 0


@pytest.mark.parametrize("case", ["pgd_at", "memory"])
def test_every_image_counts_once_in_the_rows(seen: dict[tuple[int, int], Any], case: str) -> None:
    # 13 validation images in batches of 4: the last has one image, fewer than there are processes.
    for mine, theirs in zip(seen[1, 0][case]["rows"], seen[2, 0][case]["rows"], strict=True):
        assert set(mine) == set(theirs)
        for name in set(mine) - {"seconds", "images_per_second"}:
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6), name
        assert (13 * theirs["val_clean"]) % 1 == pytest.approx(0, abs=1e-9)


def test_memory_is_whole_and_the_same_in_every_process(seen: dict[tuple[int, int], Any]) -> None:
    one, first, second = (seen[key]["memory"]["memory"] for key in ((1, 0), (2, 0), (2, 1)))
    for name in ("budget", "noise"):
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(one[name], first[name], rtol=0, atol=1e-6)
    assert (one["budget"] != 0).sum() > 30


def test_all_processes_stop_at_the_step_after_one_was_told(seen: dict[tuple[int, int], Any]) -> None:
    for rank in (0, 1):
        assert seen[2, rank]["stopped"]["error"] == "Interrupted 15"
    assert seen[1, 0]["stopped"]["step"] == 7
    assert seen[2, 0]["stopped"]["step"] == seen[2, 1]["stopped"]["step"] == 8


def test_stopped_in_an_epoch_they_go_on_to_the_same_weights(seen: dict[tuple[int, int], Any]) -> None:
    for key in ((1, 0), (2, 0), (2, 1)):
        resumed, whole = seen[key]["resumed"], seen[key]["memory"]
        assert resumed["error"] == "" and resumed["step"] == 20
        assert far(resumed["weights"], whole["weights"]) == 0, key
        assert len(resumed["rows"]) == len(whole["rows"]) == 4
        if key[1] == 0:
            for mine, theirs in zip(resumed["rows"], whole["rows"], strict=True):
                for name in set(mine) - {"seconds", "images_per_second"}:
                    assert mine[name] == pytest.approx(theirs[name], abs=1e-7), name


def test_a_loss_that_is_no_number_in_one_process_stops_all_and_is_named(
    seen: dict[tuple[int, int], Any],
) -> None:
    for key in ((1, 0), (2, 0), (2, 1)):
        assert seen[key]["nan"]["error"].startswith("NonFiniteLoss non-finite loss at step 8 of 20 (epoch 2)")
        saved = torch.load(seen[key]["folder"] / "nan" / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == 5


def test_synchronised_batch_norm_is_refused_on_a_cpu() -> None:
    with pytest.raises(InputError, match=r"trainer\.sync_batchnorm: expected false on a CPU"):
        make_trainer(max_epochs=1, accelerator="cpu", devices=2, sync_batchnorm=True)
