"""A search stopped anywhere ends with the same bits; two processes search as one; rates, clipping and rows are as said."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from advarch.launch.ranks import environments, supervise
from advarch.search.method import Batches, Progress
from tests.lit import searching
from tests.lit.searching import EPOCHS, MIN_LR, RATE, STEPS, method, run
from tests.lit.test_mid_epoch import Told


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The search by RACL that nobody stops, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, method("racl")) | {"folder": folder}


def same(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


# In each epoch two moments between its three batches, and one after each of two batches of validation.
@pytest.mark.parametrize("moment", [2, 4, 6])
def test_stopped_in_an_epoch_or_its_validation_it_ends_with_the_same_bits(
    tmp_path: Path, whole: dict[str, Any], moment: int
) -> None:
    assert run(tmp_path, method("racl"), process=Told(moment))["stopped"]
    if (tmp_path / "search.jsonl").exists():
        # Killed between the checkpoint and the file.
        (tmp_path / "search.jsonl").write_text("")
    resumed = run(tmp_path, method("racl"), resume=True)
    for part in ("state", "method", "lr"):
        same(resumed[part], whole[part])
    assert resumed["rows"] == whole["rows"]
    lines = [json.loads(line) for line in (tmp_path / "search.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_rows_hold_what_the_method_said_entropies_and_the_cell(whole: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (whole["folder"] / "search.jsonl").read_text().splitlines()]
    assert len(lines) == len(whole["rows"]) == EPOCHS
    for line, row in zip(lines, whole["rows"], strict=True):
        assert row.items() <= line.items()
        assert {"ce", "gradient_norm", "gap", "multiplier", "entropy", "val_clean", "seconds"} <= set(line)
        assert 0 < line["entropy"] < math.log(4) and len(line["genotype"]["cells"]) == 2
    # theta grows by rho c. In the first epoch one step (at two thirds) lies behind the warm-up of half an epoch.
    first = whole["rows"][0]
    assert first["multiplier"] == pytest.approx(0.001 * first["gap"], rel=1e-5)


def test_the_weights_rate_falls_between_epochs_and_ends_at_the_least(whole: dict[str, Any]) -> None:
    half = MIN_LR + (RATE - MIN_LR) / 2
    assert [row["lr"] for row in whole["rows"]] == pytest.approx([RATE, half])
    assert whole["lr"] == pytest.approx(MIN_LR)


class Steep:
    """A method whose weights' gradient has length 50 and whose architecture's has length 5, at each step."""

    def __init__(self) -> None:
        self.supernet: Any = searching.method("darts").supernet
        self.weight, self.arch = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
        self.supernet.steep = nn.ParameterList([self.weight, self.arch])
        self.moved: list[torch.Tensor] = []

    def parameters(self) -> dict[str, Any]:
        return {"weights": [self.weight], "arch": [self.arch]}

    def step(self, batches: Batches, optimizers: Any, progress: Progress) -> dict[str, torch.Tensor]:
        self.weight.grad, self.arch.grad = torch.tensor([30.0, 40.0]), torch.tensor([3.0, 4.0])
        for optimizer in optimizers.values():
            optimizer.step()
        self.moved.append(torch.stack([self.weight.grad, self.arch.grad]).clone())
        return {"loss": torch.tensor(float(progress.step))}

    def derive(self, progress: Progress, name: str = "found") -> Any:
        return searching.method("darts").derive(progress, name)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass


def test_the_weights_gradient_alone_is_clipped_and_terms_are_means_over_steps(tmp_path: Path) -> None:
    steep = Steep()
    found = run(tmp_path, steep, grad_clip=5.0)
    for weight, arch in steep.moved:
        torch.testing.assert_close(weight, torch.tensor([3.0, 4.0]), rtol=1e-5, atol=0)
        assert arch.tolist() == [3.0, 4.0]
    assert len(steep.moved) == EPOCHS * STEPS
    assert [row["loss"] for row in found["rows"]] == [1.0, 4.0]


def test_validation_is_attacked_where_that_is_asked_for_and_no_epoch_is_the_best(tmp_path: Path) -> None:
    def inverted(model: Any, x: torch.Tensor, y: torch.Tensor, *, generator: Any) -> torch.Tensor:
        return 1 - x

    steep = Steep()
    last = run(tmp_path, steep, validation_attack=inverted)["rows"][-1]
    net, images = steep.supernet.eval(), searching.loader(range(52, 64), train=False)
    with torch.no_grad():
        right = torch.cat([net(x).argmax(1) == y for x, y, _ in images])
        stand = right & torch.cat([net(1 - x).argmax(1) == y for x, y, _ in images])
    assert (last["val_clean"], last["val_robust"]) == pytest.approx(
        (right.double().mean().item(), stand.double().mean().item())
    )
    assert [path.name for path in (tmp_path / "search").glob("best*")] == []


@pytest.mark.slow
@pytest.mark.xdist_group("ranks")
def test_two_processes_search_as_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, searching.__file__, str(tmp_path)]
    assert supervise(command, environments(2, 1, environment)).code == 0
    for name in ("darts", "racl"):
        one = run(tmp_path / "one" / name, method(name))
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
        same(first["state"], second["state"])
        start = method(name).supernet.state_dict()
        for key, value in one["state"].items():
            torch.testing.assert_close(first["state"][key], value, rtol=0, atol=1e-6, msg=f"{name} {key}")
            if key.startswith(("arch.mu", "arch.alpha")):
                assert float((value - start[key]).abs().max()) > 1e-3
        for mine, theirs in zip(one["rows"], first["rows"], strict=True):
            assert mine["genotype"] == theirs["genotype"]
            for key in set(mine) - {"genotype"}:
                assert mine[key] == pytest.approx(theirs[key], abs=1e-5), key
