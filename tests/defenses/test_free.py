"""FreeAT against a plain loop: the perturbation over batches and replays, sharded, resumed."""

import copy
from collections.abc import Iterable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from advarch.defenses.contract import AfterBackward, Remembers, replays
from advarch.defenses.free import Free
from advarch.lit.callbacks import EpochRecord
from advarch.lit.module import TrainModule
from advarch.lit.replayed import Replayed
from advarch.lit.trainer import make_trainer
from advarch.threat import Threat
from tests.defenses.test_losses import batch, close, cross_entropy, network
from tests.lit.test_train_module import network as small_network
from tests.lit.test_train_module import recipe, same, train_loader, val_loader

EPS = 0.1


def plain_free(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The first step: nothing is perturbed yet."""
    z = net(x)
    return cross_entropy(z, y), z


PLAIN = {"free": plain_free}


def batches(sizes: Iterable[int] = (7, 7, 5, 7)) -> list[tuple[Tensor, Tensor]]:
    x, y = batch(40)
    return [(x[10 * i : 10 * i + size], y[10 * i : 10 * i + size]) for i, size in enumerate(sizes)]


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)


def plain_loop(
    net: nn.Module, data: list[tuple[Tensor, Tensor]], m: int, step_size: float, norm: str | int
) -> tuple[Tensor, list[float]]:
    """Algorithm 1 of the paper as one writes it: both gradients of one loss, then both moves."""
    optimizer, losses = sgd(net), []
    delta = torch.zeros_like(data[0][0])
    for x, y in data:
        for _ in range(m):
            noise = delta[: len(x)].clone().requires_grad_()
            loss = cross_entropy(net((x + noise).clamp(0, 1)), y)
            weights = list(net.parameters())
            gradient, *to_weights = torch.autograd.grad(loss, [noise, *weights])
            for i in range(len(x)):
                if norm == 2:
                    moved = delta[i] + step_size * gradient[i] / gradient[i].norm()
                    delta[i] = moved * min(1.0, EPS / float(moved.norm()))
                else:
                    delta[i] = (delta[i] + step_size * gradient[i].sign()).clamp(-EPS, EPS)
            for weight, value in zip(weights, to_weights, strict=True):
                weight.grad = value
            optimizer.step()
            losses.append(float(loss.detach()))
    return delta, losses


def free_loop(net: nn.Module, data: list[tuple[Tensor, Tensor]], free: Free) -> list[float]:
    optimizer, losses = sgd(net), []
    for x, y in data:
        for _ in range(replays(free)):
            output = free(net, x, y)
            optimizer.zero_grad()
            output.total.backward()
            free.after_backward(net)
            optimizer.step()
            losses.append(float(output.total.detach()))
    return losses


def memory(free: Free) -> Tensor:
    free.gather(lambda value: value[None])
    whole: Tensor = free.state_dict()["delta"]
    return whole


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("step_size", [EPS, 0.03])
@pytest.mark.parametrize("m", [1, 3])
def test_weights_and_perturbation_equal_a_plain_loop_s_over_batches_of_any_size(
    m: int, step_size: float, norm
) -> None:
    net = network()
    twin = copy.deepcopy(net)
    free = Free(Threat(norm, EPS), step_size, m)
    losses = free_loop(net, batches(), free)
    delta, expected = plain_loop(twin, batches(), m, step_size, norm)
    assert losses == pytest.approx(expected, rel=1e-9, abs=1e-9) and len(losses) == 4 * m
    close(memory(free), delta)
    for mine, theirs in zip(net.state_dict().values(), twin.state_dict().values(), strict=True):
        close(mine, theirs)
    assert (delta != 0).any(dim=(1, 2, 3)).all()


def test_with_one_replay_it_is_a_step_of_fgsm_from_where_the_last_batch_left_off() -> None:
    net, free = network(), Free(Threat("inf", EPS), EPS, 1)
    (x, y), (x_next, y_next) = batches((7, 7))
    output = free(net, x, y)
    output.total.backward()
    free.after_backward(net)
    clean = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(copy.deepcopy(net)(clean), y), clean)
    expected = network()
    expected.load_state_dict(net.state_dict())
    found = free(net, x_next, y_next)
    close(found.logits, expected((x_next + EPS * gradient.sign()).clamp(0, 1)).detach())


def test_it_is_a_defense_that_remembers_and_acts_after_the_backward_pass() -> None:
    free = Free(Threat("inf", EPS), EPS, 4)
    assert isinstance(free, Remembers) and isinstance(free, AfterBackward) and replays(free) == 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("norm", ["inf", 2])
def test_a_gradient_that_overflowed_moves_nothing_and_its_scale_plays_no_part(bad: float, norm) -> None:
    (x, y), net = batch(), network()
    deltas = []
    for scale in (1.0, 1024.0, bad):
        free = Free(Threat(norm, EPS), EPS / 2, 1)
        (free(copy.deepcopy(net), x, y).total * scale).backward()
        free.after_backward(net)
        deltas.append(memory(free))
    close(deltas[1], deltas[0])
    assert deltas[0].abs().max() > 0 and not deltas[2].any()


def test_images_of_another_size_begin_anew_and_a_larger_batch_gets_places_of_its_own() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16, 5)).double()
    free = Free(Threat("inf", EPS), EPS, 1)
    generator = torch.Generator().manual_seed(0)

    def one(count: int, size: int) -> Tensor:
        x = 0.3 + 0.4 * torch.rand(count, 1, size, size, generator=generator, dtype=torch.float64)
        output = free(net, x, torch.arange(count) % 5)
        output.total.backward()
        free.after_backward(net)
        return memory(free).clone()

    first, second = one(3, 8), one(5, 8)
    assert second.shape == (5, 1, 8, 8) and (first != 0).any() and (second[3:] != 0).any()
    assert one(2, 6).shape == (2, 1, 6, 6)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_processes_remember_together_what_one_would_whatever_their_number_afterwards(after: int) -> None:
    (x, y), net = batch(8), network().eval()
    alone = Free(Threat("inf", EPS), EPS, 1)
    shares = [Free(Threat("inf", EPS), EPS, 1) for _ in range(2)]
    for rank, free in enumerate(shares):
        free.start(images=8, device=torch.device("cpu"), rank=rank, world_size=2)
    for free, part in [
        (alone, slice(None)),
        *((free, slice(rank, None, 2)) for rank, free in enumerate(shares)),
    ]:
        free(net, x[part], y[part]).total.backward()
        free.after_backward(net)
    stacked = torch.stack([memory(free) for free in shares])
    for free in shares:
        free.gather(lambda value: stacked)
    whole = memory(alone)
    assert torch.equal(shares[0].state_dict()["delta"], whole) and torch.equal(
        shares[1].state_dict()["delta"], whole
    )
    for rank in range(after):
        resumed = Free(Threat("inf", EPS), EPS, 1)
        resumed.start(images=8, device=torch.device("cpu"), rank=rank, world_size=after)
        resumed.load_state_dict({"delta": whole})
        assert torch.equal(memory(resumed), whole[rank::after])


def test_before_the_first_batch_there_is_nothing_to_remember() -> None:
    free = Free(Threat("inf", EPS), EPS, 2)
    free.gather(lambda value: value[None])
    assert free.state_dict() == {"delta": None}
    free.load_state_dict({"delta": None})
    free.start(images=8, device=torch.device("cpu"), rank=0, world_size=1)
    close(free(network(), *batch()).logits, network()(batch()[0]).detach())


class Stop(pl.Callback):
    """Fail before a step, as a run that is killed there does."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")


def fit(folder: Path, *, stop: int | None = None, resume: bool = False) -> tuple[nn.Module, dict]:
    free = Free(Threat("inf", EPS), EPS, 2)
    model = small_network()
    record = EpochRecord(folder, val_loader(), validate_every=1, on_epoch=lambda row: None)
    trainer = make_trainer(
        max_epochs=3, accelerator="cpu", devices=1, fast=False, folder=folder, callbacks=[Stop(stop), record]
    )
    plan = recipe(3, defense=free, steps_per_epoch=4, images=22)
    last = folder / "checkpoints" / "last.ckpt"
    trainer.fit(
        TrainModule(model, plan),
        Replayed(train_loader(), 2),
        ckpt_path=last if resume else None,
        weights_only=True,
    )
    return model, torch.load(last, weights_only=True)


def test_a_run_killed_between_two_replays_ends_with_the_same_weights_and_perturbation(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (killed := tmp_path / "killed").mkdir()
    expected, checkpoint = fit(whole)
    with pytest.raises(KeyError, match="killed"):
        fit(killed, stop=7)
    model, resumed = fit(killed, resume=True)
    assert same(model.state_dict(), expected.state_dict())
    assert torch.equal(resumed["defense"]["delta"], checkpoint["defense"]["delta"])
    assert checkpoint["defense"]["delta"].shape == (8, 1, 4, 4) and checkpoint["global_step"] == 3 * 2 * 2
