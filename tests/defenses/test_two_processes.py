"""AWP and FreeAT on two processes, each with its share of the batch, against one with the whole batch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn, optim
from torch.multiprocessing.spawn import start_processes

from advarch.attacks.pgd import pgd
from advarch.defenses.awp import AWP
from advarch.defenses.contract import AfterBackward, Remembers, TrainStep, replays
from advarch.defenses.free import Free
from advarch.defenses.mart import mart
from advarch.defenses.pgd_at import pgd_at
from advarch.noise import ExampleGenerator
from advarch.threat import Threat

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two processes")]
BATCHES, BATCH = 20, 8
THREAT = Threat("inf", 0.1)
ATTACK = partial(pgd, threat=THREAT, steps=2, step_size=0.05)
DEFENSES: dict[str, Callable[[], Callable]] = {
    "awp": lambda: AWP(pgd_at, 0.1),
    "awp around mart": lambda: AWP(mart, 0.05, warmup_epochs=1),
    "free": lambda: Free(THREAT, 0.1, 3),
}


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(4 * 16, 5)]
    return nn.Sequential(*layers).double()


def train(name: str, rank: int, world_size: int) -> tuple[list[Tensor], Tensor | None]:
    """Weights after twenty batches of which this process saw its share, and what the defense remembers."""
    net, defense = network(), DEFENSES[name]()
    if isinstance(defense, Remembers):
        defense.start(images=BATCH, device=torch.device("cpu"), rank=rank, world_size=world_size)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    generator = torch.Generator().manual_seed(1)
    for number in range(BATCHES):
        x = torch.rand(BATCH, 1, 6, 6, generator=generator, dtype=torch.float64)[rank::world_size]
        index = torch.arange(BATCH)[rank::world_size]
        for _ in range(replays(defense)):
            step = TrainStep(index, number / 5, 4, ExampleGenerator(number, index))
            output = defense(net, x, index % 5, attack=ATTACK, step=step)
            optimizer.zero_grad()
            output.total.backward()
            for parameter in net.parameters():
                if world_size > 1:
                    distributed.all_reduce(parameter.grad)
                parameter.grad /= world_size
            assert isinstance(defense, AfterBackward)
            defense.after_backward(net)
            optimizer.step()
    if isinstance(defense, Remembers):
        defense.gather(gathered if world_size > 1 else lambda value: value[None])
    remembered = defense.state_dict()["delta"] if isinstance(defense, Remembers) else None
    return [parameter.detach() for parameter in net.parameters()], remembered


def gathered(value: Tensor) -> Tensor:
    parts = [torch.empty_like(value) for _ in range(2)]
    distributed.all_gather(parts, value)
    return torch.stack(parts)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save({name: train(name, rank, 2) for name in DEFENSES}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder: Path = tmp_path_factory.mktemp("two")
    # Forked, so that they need not import torch again.
    start_processes(process, (str(folder),), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", DEFENSES)
def test_two_processes_train_and_remember_what_one_does(name: str, found: list[dict]) -> None:
    weights, remembered = train(name, 0, 1)
    for rank in range(2):
        theirs, also = found[rank][name]
        for mine, other in zip(weights, theirs, strict=True):
            torch.testing.assert_close(other, mine, rtol=1e-9, atol=1e-9)
        if remembered is not None:
            torch.testing.assert_close(also, remembered, rtol=1e-9, atol=1e-9)
    moved = [(a - b).abs().max() for a, b in zip(weights, network().parameters(), strict=True)]
    assert all(distance > 1e-3 for distance in moved)
