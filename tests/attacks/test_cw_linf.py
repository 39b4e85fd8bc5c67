"""CW_inf: its hinge, and the attack against the formula written plainly."""

import math
from collections.abc import Callable
from typing import Any

import eagerpy as ep
import foolbox
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.cw_linf import cw_linf
from advarch.attacks.objectives import margin, margin_up_to
from advarch.threat import Threat, uniform_start
from tests.attacks.small_nets import images, predictions, small_net

THREAT = Threat("inf", 8 / 255)


def test_hinge_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [3.0, 1.0, 2.5], [0.0, 60.0, 0.0]], requires_grad=True)
    y = torch.tensor([0, 1, 0])
    assert margin(logits, y).tolist() == [-0.5, 2.0, 60.0]
    assert margin_up_to(0.0)(logits, y).tolist() == [-0.5, 0.0, 0.0]
    assert margin_up_to(50.0)(logits, y).tolist() == [-0.5, 2.0, 50.0]
    assert margin_up_to(math.inf)(logits, y).tolist() == [-0.5, 2.0, 60.0]


def test_hinge_is_each_examples_own() -> None:
    # Summed over the batch before the clip, the fooled example would hide the other.
    logits = torch.tensor([[0.0, 9.0], [1.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(margin_up_to(0.0)(logits, torch.tensor([0, 0])).sum(), logits)
    assert gradient.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def _reference(
    net: nn.Module, x: Tensor, y: Tensor, start: Tensor, steps: int, length: float, kappa: float
) -> Tensor:
    finished = []
    for image, label, x_adv in zip(x, y, start, strict=True):
        for _ in range(steps):
            leaf = x_adv.clone().requires_grad_()
            logits = net(leaf[None])[0]
            others = torch.cat([logits[:label], logits[label + 1 :]])
            loss = -torch.relu(logits[label] - others.max() + kappa)
            (gradient,) = torch.autograd.grad(loss, leaf)
            x_adv = x_adv + length * gradient.sign()
            x_adv = torch.minimum(torch.maximum(x_adv, image - THREAT.eps), image + THREAT.eps).clamp(0, 1)
        finished.append(x_adv)
    return torch.stack(finished)


@pytest.mark.parametrize("confidence", [0.0, 0.5, 50.0])
def test_equals_plain_pgd_on_the_margin(confidence: float) -> None:
    net, x = small_net().double(), images(10).double()
    y = predictions(net, x)
    start = uniform_start(x, THREAT, torch.Generator().manual_seed(5))
    ours = cw_linf(
        net,
        x,
        y,
        threat=THREAT,
        steps=12,
        step_size=0.8 / 255,
        confidence=confidence,
        generator=torch.Generator().manual_seed(5),
    )
    assert torch.allclose(ours, _reference(net, x, y, start, 12, 0.8 / 255, confidence), rtol=0, atol=1e-9)


def test_same_verdicts_as_foolboxs_pgd_on_the_margin() -> None:
    class MarginPGD(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model: Callable[[Any], Any], labels: Any) -> Callable[[Any], Any]:
            return lambda inputs: ep.astensor(margin(model(inputs).raw, labels.raw)).sum()

    net, x = small_net(), images(32)
    y = predictions(net, x)
    threat = Threat("inf", 2 / 255)
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    attack = MarginPGD(abs_stepsize=0.2 / 255, steps=20, random_start=False)
    theirs = predictions(net, attack(fmodel, x, y, epsilons=2 / 255)[1]) != y
    ours = cw_linf(net, x, y, threat=threat, steps=20, step_size=0.2 / 255, confidence=math.inf, start=None)
    assert torch.equal(predictions(net, ours) != y, theirs)
    assert theirs.any() and not theirs.all()


def test_stays_where_the_confidence_is_reached() -> None:
    net, x = small_net(), images(16)
    y = (predictions(net, x) + 1) % 10
    with torch.no_grad():
        beyond = margin(net(x), y) > 0
    ours = cw_linf(net, x, y, threat=THREAT, steps=5, step_size=2 / 255, start=None)
    assert beyond.all() and torch.equal(ours, x)
