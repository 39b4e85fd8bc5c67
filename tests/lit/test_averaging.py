"""Averages of weights against closed forms, torch's own and a plain loop; statistics against those of all images."""

import copy
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import (
    AveragedModel,
    get_ema_multi_avg_fn,
    get_swa_multi_avg_fn,
)

from advarch.defenses.natural import natural
from advarch.errors import InputError
from advarch.layers.batch_statistics import reestimate_statistics
from advarch.lit.averaging import (
    Average,
    Averaging,
    Clock,
    Ema,
    Swa,
)
from advarch.lit.module import TrainModule
from advarch.lit.trainer import make_trainer
from advarch.runs.weights import from_checkpoint
from advarch.types import Batch
from tests.lit.test_train_module import (
    broken_at,
    fit,
    judged,
    network,
    part,
    plain,
    recipe,
    same,
    train_loader,
)

CLOCK = Clock(epochs=10, steps_per_epoch=3)


class Number(nn.Module):
    """One weight, one buffer, one count."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value], dtype=torch.float64))
        self.register_buffer("statistic", torch.tensor([value], dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))

    def set(self, value: float, count: int = 0) -> None:
        self.weight.data.fill_(value)
        self.statistic.fill_(-value)
        self.count.fill_(count)


def follow(
    rule: Averaging, values: list[float], first: float = 0.0, clock: Clock = CLOCK
) -> Iterator[Number]:
    """The averaged module after each step, the weight being values[0], values[1], ... after steps 1, 2, ..."""
    model = Number(first)
    average = Average(model, rule, clock)
    for step, value in enumerate(values, 1):
        model.set(value, step)
        average.update(model, step)
        yield average.network


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ema_of_a_straight_line_is_its_closed_form(decay: float) -> None:
    # a_T = T - d (1 - d^T)/(1 - d) solves a_T = d a_{T-1} + (1 - d) T with a_0 = 0.
    for step, net in enumerate(follow(Ema(decay, warmup=False), [float(t) for t in range(1, 30)]), 1):
        expected = step - decay * (1 - decay**step) / (1 - decay)
        assert net.weight.item() == pytest.approx(expected, rel=1e-12)


def test_ema_s_warm_up_forgets_the_beginning_by_its_closed_form() -> None:
    # The product of (1 + t)/(10 + t), t = 0 .. T - 1, is T! 9!/(T + 9)!.
    for step, net in enumerate(follow(Ema(0.9999), [0.0] * 40, first=1.0), 1):
        expected = math.factorial(step) * math.factorial(9) / math.factorial(step + 9)
        assert net.weight.item() == pytest.approx(expected, rel=1e-9)
    assert 1 - Ema(0.5).share(100, CLOCK) == 0.5
    assert 1 - Ema(0.5).share(9, CLOCK) == 0.5 and 1 - Ema(0.5).share(8, CLOCK) == pytest.approx(8 / 17)


@pytest.mark.parametrize(("start", "first"), [(4, 4), (0, 0), (0.5, 5), (0.75, 8), (9, 9), (2.5, 3)])
def test_swa_is_the_equal_average_over_the_epochs_from_its_start(start: float, first: int) -> None:
    rule = Swa(start)
    values = [float((7 * t) % 11) for t in range(1, 31)]
    ends = values[2::3]
    for step, net in enumerate(follow(rule, values), 1):
        done = step // 3
        taken = ends[first:done]
        assert rule.begun(step, CLOCK) == bool(taken)
        if taken:
            assert net.weight.item() == pytest.approx(sum(taken) / len(taken), rel=1e-12)


def test_buffers_are_averaged_or_copied_and_counts_always_copied() -> None:
    for buffers in ("averaged", "copied", "reestimated"):
        for step, net in enumerate(follow(Ema(0.5, warmup=False, buffers=buffers), [1.0, 2.0, 3.0]), 1):
            averaged = {1: 0.5, 2: 1.25, 3: 2.125}[step]
            assert net.weight.item() == averaged
            assert net.statistic.item() == (-averaged if buffers == "averaged" else -step)
            assert net.count.item() == step


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_equal_torch_s(kind: str) -> None:
    model = network()
    oracle_fn = get_ema_multi_avg_fn(0.9) if kind == "ema" else get_swa_multi_avg_fn()
    oracle = AveragedModel(model, multi_avg_fn=oracle_fn, use_buffers=kind == "ema")
    rule = Ema(0.9, warmup=False) if kind == "ema" else Swa(0)
    average = Average(model, rule, Clock(9, 1))
    if kind == "ema":
        oracle.update_parameters(model)  # torch's first call copies
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 8):
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.data.copy_(torch.randn(value.shape, generator=generator))
        average.update(model, step)
        oracle.update_parameters(model)
        for mine, theirs in zip(average.network.parameters(), oracle.module.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
        for mine, theirs in zip(average.network.buffers(), oracle.module.buffers(), strict=True):
            if kind == "ema" and mine.is_floating_point():  # torch's SWA fails on counts
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


# Statistics --------------------------------------------------------------------------------------------------------------


def batches(x: Tensor, size: int) -> list[Batch]:
    index = torch.arange(len(x))
    return [Batch(x[i : i + size], index[i : i + size], index[i : i + size]) for i in range(0, len(x), size)]


def stacked() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)
        ).eval()  # fmt: skip


def total(value: Tensor) -> Tensor:
    return value


def brightening(count: int = 50) -> Tensor:
    """Images whose brightness rises, so that batches differ from one another."""
    x = torch.rand(count, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    return 0.5 * x + torch.linspace(0, 0.5, count)[:, None, None, None]


@pytest.mark.parametrize("size", [50, 8, 7])
def test_reestimated_statistics_are_those_of_all_images(size: int) -> None:
    x, net = brightening(), stacked()
    reestimate_statistics(net, batches(x, size), torch.device("cpu"), total)
    seen = net[0](x).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(net[1].running_mean.double(), seen.mean(1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(net[1].running_var.double(), seen.var(1), rtol=1e-5, atol=1e-8)
    if size == 50:  # every norm normalised by these very statistics
        normed = (seen - seen.mean(1, keepdim=True)) / (seen.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        hidden = net[4](normed.view(3, 50, 4, 4).transpose(0, 1).relu().float())
        deep = hidden.double().transpose(0, 1).flatten(1)
        torch.testing.assert_close(net[5].running_mean.double(), deep.mean(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net[5].running_var.double(), deep.var(1), rtol=1e-4, atol=1e-6)


def test_reestimating_leaves_everything_else_as_it_was() -> None:
    net = stacked()
    net[1].momentum = 0.3
    net[3].train()
    before = copy.deepcopy(net)
    reestimate_statistics(net, batches(brightening(), 8), torch.device("cpu"), total)
    assert [module for module in net.modules() if module.training] == [net[3]]
    assert net[1].momentum == 0.3 and net[1].track_running_stats and not net[1]._forward_pre_hooks
    changed = [k for k, v in net.state_dict().items() if not torch.equal(v, before.state_dict()[k])]
    assert changed == ["1.running_mean", "1.running_var", "5.running_mean", "5.running_var"]
    other = stacked().train()
    other[1].running_mean.fill_(9.0), other[5].running_var.fill_(7.0)
    reestimate_statistics(other, batches(brightening(), 8), torch.device("cpu"), total)
    assert same(other.state_dict(), net.state_dict())


def test_processes_put_their_moments_together() -> None:
    x, whole, first = brightening(), stacked(), stacked()[:2]
    reestimate_statistics(whole, batches(x, 50), torch.device("cpu"), total)
    shares: list[Tensor] = []
    for rank in range(2):
        reestimate_statistics(
            first, batches(x[rank::2], 9), torch.device("cpu"), lambda v: shares.append(v) or v
        )
    summed = sum(shares)
    reestimate_statistics(first, batches(x[::2], 9), torch.device("cpu"), lambda v: summed)
    torch.testing.assert_close(first[1].running_var, whole[1].running_var)
    torch.testing.assert_close(first[1].running_mean, whole[1].running_mean)


# In training -------------------------------------------------------------------------------------------------------------


def images_as_they_are() -> list[Batch]:
    x = torch.from_numpy(part().x).float() / 255
    return batches(x, 22)


RULES = {
    "ema": Ema(0.8),
    "ema, copied": Ema(0.8, warmup=False, buffers="copied"),
    "swa": Swa(1),
}


def averaged(name: str, epochs: int = 4, **changes):
    return recipe(epochs, averaging=RULES[name], plain_batches=images_as_they_are(), **changes)


def stripped(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def expected_averages(name: str, plan) -> list[dict[str, Tensor] | None]:
    """The averaged network after each epoch, from the weights of a plain loop; None before there is one."""
    steps: list[dict[str, Tensor]] = []
    original = plan.make_optimizer

    class Spied(torch.optim.SGD):
        def step(self, *args, **kwargs):
            result = super().step(*args, **kwargs)
            steps.append({k: v.detach().clone() for k, v in model.state_dict().items()})
            return result

    model = network()
    start = {k: v.clone() for k, v in model.state_dict().items()}
    options = original.keywords
    plain(recipe(plan.epochs, make_optimizer=partial(Spied, **options)), model=model)
    averages: list[dict[str, Tensor] | None] = []
    if name == "swa":
        for epoch in range(plan.epochs):
            taken = [steps[2 * e + 1] for e in range(1, epoch + 1)]
            averages.append(
                {k: torch.stack([t[k].double() for t in taken]).mean(0) for k in start} if taken else None
            )
        return averages
    current = {k: v.double() for k, v in start.items()}
    for t, state in enumerate(steps):
        d = min(0.8, (1 + t) / (10 + t)) if name == "ema" else 0.8
        for key, value in state.items():
            copied = key.endswith("tracked") or (name != "ema" and "running" in key)
            current[key] = value.double() if copied else d * current[key] + (1 - d) * value.double()
        if t % 2:
            averages.append(dict(current))
    return averages


@pytest.mark.parametrize("name", RULES)
def test_the_averaged_network_is_validated_and_kept_and_the_trained_one_goes_its_way(
    tmp_path: Path, name: str
) -> None:
    plan = averaged(name)
    run = fit(tmp_path, plan)
    trained, epochs = plain(recipe(4))
    assert same(run.model.state_dict(), trained.state_dict())
    kept = from_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    raw = stripped(run.checkpoint("last")["state_dict"], "model.")
    assert same(raw, trained.state_dict()) and not same(kept, raw)
    averages = expected_averages(name, plan)
    for key, value in averages[-1].items():
        if name != "swa" or ("running" not in key and "tracked" not in key):
            torch.testing.assert_close(kept[key].double(), value, rtol=1e-5, atol=1e-6)
    if name == "swa":
        net = network()
        net.load_state_dict(kept)
        reestimate_statistics(net.eval(), images_as_they_are(), torch.device("cpu"), total)
        assert same(net.state_dict(), kept)
    last = run.csv()[-1]
    assert (float(last["val_clean"]), float(last["val_robust"])) == judged(network(), kept)
    best = from_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    row = run.csv()[run.record.best_epoch - 1]
    assert (float(row["val_clean"]), float(row["val_robust"])) == judged(network(), best)
    first = run.csv()[0]
    if name == "swa":  # there is no average yet
        assert (float(first["val_clean"]), float(first["val_robust"])) == judged(
            network(), epochs[0]["weights"]
        )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("stopped_at", [3, 5])
def test_a_stopped_run_goes_on_to_the_same_averages_to_the_bit(
    tmp_path: Path, name: str, stopped_at: int
) -> None:
    (tmp_path / "whole").mkdir()
    (folder := tmp_path / "stopped").mkdir()
    whole = fit(tmp_path / "whole", averaged(name), every=2)
    with pytest.raises(KeyError):
        fit(folder, averaged(name, defense=broken_at(stopped_at, "fails")), every=2)
    resumed = fit(folder, averaged(name), resume=True, every=2)
    for checkpoint in ("best", "last"):
        mine, theirs = (run.checkpoint(checkpoint) for run in (resumed, whole))
        assert same(mine["state_dict"], theirs["state_dict"]) and mine.get("kept") == theirs.get("kept")
    assert resumed.checkpoint("last")["kept"] == "average.network."


def test_before_its_first_epoch_swa_keeps_the_trained_network(tmp_path: Path) -> None:
    plan = recipe(3, averaging=Swa(2), plain_batches=images_as_they_are(), defense=broken_at(4, "fails"))
    with pytest.raises(KeyError):
        fit(tmp_path, plan)
    trained, _ = plain(recipe(2))
    assert same(from_checkpoint(tmp_path / "checkpoints" / "last.ckpt"), trained.state_dict())


@pytest.mark.parametrize("start", [4, 3.5, 55])
def test_an_average_that_would_never_begin_is_refused(start: float) -> None:
    with pytest.raises(InputError, match=r"before the end of trainer\.max_epochs=4, .*share of the run"):
        TrainModule(network(), recipe(4, averaging=Swa(start)))


def test_averaged_weights_are_no_business_of_the_optimizer() -> None:
    module = TrainModule(network(), averaged("ema"))
    optimizer = module.configure_optimizers()["optimizer"]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in module.model.parameters()}
    assert not any(p.requires_grad for p in module.average.parameters())


def test_every_optimizer_step_is_taken_in_once(tmp_path: Path) -> None:
    taken = []

    class Counting(Ema):
        def share(self, step: int, clock: Clock) -> float:
            taken.append((step, clock))
            return super().share(step, clock)

    trainer = make_trainer(max_epochs=2, accelerator="cpu", devices=1, folder=tmp_path)
    trainer.fit(TrainModule(network(), recipe(2, averaging=Counting(0.5), defense=natural)), train_loader())
    assert taken == [(step, Clock(2, 2)) for step in (1, 2, 3, 4)]
