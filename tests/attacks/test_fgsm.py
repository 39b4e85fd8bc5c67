"""FGSM against two libraries, bit for bit, and against the formula written plainly."""

import foolbox
import pytest
import torch
import torch.nn.functional as F
import torchattacks

from advarch.attacks.fgsm import fgsm
from advarch.attacks.pgd import pgd
from advarch.noise import ExampleGenerator
from advarch.threat import Threat, uniform_start
from tests.attacks.small_nets import images, predictions, small_net

EPS = 8 / 255
THREAT = Threat("inf", EPS)


@pytest.mark.parametrize("count", [1, 7, 16])
def test_fgsm_equals_torchattacks_and_foolbox(count: int) -> None:
    net, x = small_net(), images(count)
    y = predictions(net, x)
    ours = fgsm(net, x, y, threat=THREAT)
    assert torch.equal(ours, torchattacks.FGSM(net, eps=EPS)(x, y))
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    assert torch.equal(ours, foolbox.attacks.FGSM()(fmodel, x, y, epsilons=EPS)[1])


def test_l2_equals_foolbox_and_the_formula() -> None:
    net, x = small_net().double(), images(16).double()
    y = predictions(net, x)
    ours = fgsm(net, x, y, threat=Threat(2, 0.5))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(leaf), y, reduction="sum"), leaf)
    length = slope.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(ours, (x + 0.5 * slope / length).clamp(0, 1), rtol=0, atol=1e-12)
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    theirs = foolbox.attacks.L2FastGradientAttack()(fmodel, x, y, epsilons=0.5)[1]
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("threat", [THREAT, Threat(2, 0.5)], ids=["linf", "l2"])
def test_from_a_random_start_it_is_one_step_from_there(threat: Threat) -> None:
    net, x = small_net(), images(12)
    y = predictions(net, x)
    first = uniform_start(x, threat, ExampleGenerator(3, torch.arange(12)))
    ours = fgsm(
        net, x, y, threat=threat, start=uniform_start, generator=ExampleGenerator(3, torch.arange(12))
    )
    assert torch.equal(
        ours, pgd(net, x, y, threat=threat, steps=1, step_size=threat.eps, start=lambda *_: first)
    )
    assert not torch.equal(ours, fgsm(net, x, y, threat=threat))
