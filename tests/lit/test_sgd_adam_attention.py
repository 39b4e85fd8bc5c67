"""SGD beside Adam for attention logits: against two optimizers in a plain loop, through Lightning, killed and resumed."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advarch.backbones.ds_net import DSNet
from advarch.backbones.normalised import normalised
from advarch.defenses.contract import TrainStep
from advarch.defenses.pgd_at import pgd_at
from advarch.lit.schedules import multistep, scheduler
from advarch.lit.sgd_adam_attention import (
    SgdAdam,
    attention_parameters,
    sgd_adam_attention,
)
from advarch.noise import ExampleGenerator, derive_seed
from tests.lit.test_train_module import ATTACK, SEED, fit, network, recipe, train_loader

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
# A larger rate than DS-Net's, so that the logits move.
ADAM = {"lr": 0.05, "betas": (0.5, 0.999), "weight_decay": 1e-3}
OURS = partial(
    sgd_adam_attention,
    **SETTINGS,
    attention_lr=ADAM["lr"],
    attention_betas=list(ADAM["betas"]),
    attention_weight_decay=ADAM["weight_decay"],
)


def ds_net(**options) -> DSNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # No drop-connect: its draws depend on how often the network was run.
        return DSNet(classes=3, in_channels=1, channels=4, factor=1, modules=3, drop_connect=0.0, **options)


def by_hand(epochs: int, clip: float | None) -> nn.Module:
    """The same training with two optimizers, each minibatch's one loss and one backward pass for both."""
    model = ds_net()
    logits = [stage.logits for stage in model.stages if hasattr(stage, "logits")]
    weights = [p for p in model.parameters() if all(p is not other for other in logits)]
    sgd, adam = torch.optim.SGD(weights, **SETTINGS), torch.optim.Adam(logits, **ADAM)
    loader, step = train_loader(), 0
    for epoch in range(epochs):
        for group in sgd.param_groups:
            group["lr"] = SETTINGS["lr"] * 0.5 ** sum(epoch >= m for m in (1, 2))
        loader.set_epoch(epoch)
        for batch in loader:
            model.train()
            generator = ExampleGenerator(derive_seed(SEED, "attack", step), batch.index)
            output = pgd_at(model, batch.x, batch.y, attack=ATTACK, step=TrainStep(generator=generator))
            sgd.zero_grad()
            adam.zero_grad()
            output.total.backward()
            if clip is not None:
                # One norm over both, summed in the order of the groups.
                nn.utils.clip_grad_norm_([*weights, *logits], clip)
            sgd.step()
            adam.step()
            step += 1
    return model


def assert_same(ours: nn.Module, theirs: nn.Module) -> None:
    for (name, value), (_, expected) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("clip", [None, 0.05])
def test_it_trains_as_two_optimizers_in_a_plain_loop(tmp_path: Path, clip: float | None) -> None:
    run = fit(tmp_path, recipe(3, make_optimizer=OURS), model=ds_net(), grad_clip=clip)
    assert isinstance(run.trainer.optimizers[0], SgdAdam)
    assert_same(run.model, by_hand(3, clip))
    moved = [
        not torch.equal(a, b)
        for a, b in zip(attention_parameters(run.model), attention_parameters(ds_net()), strict=True)
    ]
    assert all(moved) and len(moved) == 3
    assert {f"stages.{place}.logits" for place in (0, 2, 4)} <= set(run.model.state_dict())


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    plan = recipe(3, make_optimizer=OURS)
    expected = fit(whole, plan, model=ds_net())
    fit(cut, recipe(1, make_optimizer=OURS), model=ds_net())
    resumed = fit(cut, plan, model=ds_net(), resume=True)
    assert_same(resumed.model, expected.model)


def test_the_schedule_moves_the_weights_rate_alone_before_and_after_loading() -> None:
    model = ds_net()

    def made() -> tuple[SgdAdam, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = OURS(model.parameters(), attention_params=attention_parameters(model))
        halving = partial(multistep, milestones=[1, 2], gamma=0.5)
        return optimizer, scheduler(optimizer, halving, epochs=3, steps_per_epoch=1)

    optimizer, stepped = made()
    F.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.arange(4) % 3).backward()
    optimizer.step()
    stepped.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
    again, stepped_again = made()
    again.load_state_dict(optimizer.state_dict())
    stepped_again.load_state_dict(stepped.state_dict())
    again.step()
    stepped_again.step()
    assert [group["lr"] for group in again.param_groups] == [0.025, 0.05]
    assert again.sgd.param_groups[0]["lr"] == 0.025 and again.adam.param_groups[0]["lr"] == 0.05


def test_a_closure_is_called_once_and_its_loss_comes_back() -> None:
    weight, logit = (torch.ones(1, requires_grad=True) for _ in range(2))
    optimizer = sgd_adam_attention([weight, logit], lr=0.5, attention_lr=0.25, attention_params=[logit])
    calls = []

    def closure() -> float:
        calls.append(1)
        optimizer.zero_grad()
        loss = 3 * weight.sum() + 2 * logit.sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 5.0 and calls == [1]
    # Adam's first step has the length of its learning rate whatever the gradient.
    assert weight.item() == 1 - 0.5 * 3 and logit.item() == pytest.approx(1 - 0.25, rel=1e-6)


@pytest.mark.parametrize("model", [network(), ds_net(attention="fixed")], ids=["other", "fixed"])
def test_a_network_without_attention_has_sgd_alone(model: nn.Module) -> None:
    optimizer = OURS(model.parameters(), attention_params=attention_parameters(model))
    assert type(optimizer) is torch.optim.SGD
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_attention_is_found_behind_a_normalisation() -> None:
    found = attention_parameters(normalised(ds_net(), [0.5], [0.5]))
    assert [tuple(logits.shape) for logits in found] == [(4,)] * 3
