"""Training and its attack in half precision: what is cast, what is scaled, what is refused."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.objectives import cross_entropy
from advarch.attacks.pgd import pgd
from advarch.backbones.wide_resnet import WideResNet
from advarch.defenses.contract import TrainStep
from advarch.errors import InputError
from advarch.lit.module import TrainModule
from advarch.lit.trainer import make_trainer
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat, input_gradient
from tests.lit.test_train_module import (
    ATTACK,
    fit,
    network,
    plain,
    recipe,
    same,
    train_loader,
)


def test_bf16_training_equals_a_plain_loop_under_autocast(tmp_path: Path) -> None:
    seen = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        seen.append((torch.is_autocast_enabled("cpu"), model(x).dtype))
        return ATTACK(model, x, y, **options)

    plan = recipe(2, attack=attack)
    run = fit(tmp_path, plan, precision="bf16")
    assert set(seen) == {(True, torch.bfloat16)} and len(seen) == 4

    model = network().train()
    optimizer = plan.make_optimizer(params=list(model.parameters()))
    step = 0
    for epoch in range(2):
        loader = train_loader()
        loader.set_epoch(epoch)
        for x, y, index in loader:
            optimizer.param_groups[0]["lr"] = 0.1 * plan.schedule(step / 2, total=2)
            moment = TrainStep(
                index, step / 2, 2, ExampleGenerator(derive_seed(plan.seed, "attack", step), index)
            )
            with torch.autocast("cpu", torch.bfloat16):
                loss = plan.defense(model, x, y, attack=ATTACK, step=moment).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    assert same(run.model.state_dict(), model.state_dict())
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    assert not same(run.model.state_dict(), plain(recipe(2))[0].state_dict())


def test_fp16_on_a_cpu_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^trainer\.precision: expected fp32 or bf16 on a CPU, came fp16; "):
        make_trainer(max_epochs=1, precision="fp16", accelerator="cpu", devices=1)


@pytest.fixture
def small() -> WideResNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WideResNet(classes=5, in_channels=1, depths=[1, 1, 0], widths=[1, 1, 1]).train()


X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 5


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
def test_an_attack_under_autocast_sees_the_gradient_unscaled_and_finite(
    small: WideResNet, kind: torch.dtype
) -> None:
    with attack_mode(small, "eval"):
        expected, _ = input_gradient(small, X, Y, cross_entropy)
        with torch.autocast("cpu", kind):
            found, logits = input_gradient(small, X, Y, cross_entropy)
    assert logits.dtype == kind and found.dtype == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert error < (0.05 if kind == torch.float16 else 0.2)
    assert 0.9 < found.norm() / expected.norm() < 1.1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16], ids=str)
def test_an_attack_under_autocast_stays_in_the_ball_and_gains_as_much(
    small: WideResNet, kind: torch.dtype
) -> None:
    threat = Threat("inf", 0.05)
    attack = partial(pgd, threat=threat, steps=5, step_size=0.02)
    with attack_mode(small, "eval"), torch.no_grad():
        full = attack(small, X, Y)
        with torch.autocast("cpu", kind):
            half = attack(small, X, Y)
        gain = [cross_entropy(small(x), Y).mean().item() for x in (X, full, half)]
    assert torch.isfinite(half).all() and half.dtype == torch.float32
    assert (threat.distance(half, X) <= 0.05 * (1 + 1e-6)).all() and half.min() >= 0 and half.max() <= 1
    assert gain[2] - gain[0] > 0.95 * (gain[1] - gain[0]) > 0


@pytest.mark.gpu
def test_fp16_scales_the_loss_of_training_and_not_the_attack_s(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    norms = []

    def attack(model: nn.Module, x: Tensor, y: Tensor, **options) -> Tensor:
        gradient, _ = input_gradient(model, x, y, cross_entropy)
        norms.append(float(gradient.norm()))
        return ATTACK(model, x, y, **options)

    trainer = make_trainer(max_epochs=1, precision="fp16", accelerator="gpu", devices=1, folder=tmp_path)
    trainer.fit(TrainModule(network(), recipe(1, attack=attack)), train_loader())
    assert trainer.precision_plugin.scaler.get_scale() >= 1024
    assert len(norms) == 2 and all(norm < 100 for norm in norms)
