"""MI-FGSM against torchattacks, and against the formula written plainly."""

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor, nn

from advarch.attacks.mim import mim
from advarch.attacks.pgd import pgd
from advarch.threat import Threat
from tests.attacks.small_nets import images, predictions, small_net

EPS = 8 / 255


@pytest.mark.parametrize("shape", [(8, 3, 8, 8), (16, 1, 16, 16)])
@pytest.mark.parametrize(
    ("steps", "step_size", "decay"), [(10, EPS / 10, 1.0), (5, 2 / 255, 1.0), (10, 1 / 255, 0.5)]
)
def test_equals_torchattacks(shape: tuple[int, ...], steps: int, step_size: float, decay: float) -> None:
    # torchattacks divides by the mean absolute value: the l_1 norm over the number of pixels, the same sign.
    net, x = small_net(channels=shape[1]), images(*shape)
    y = predictions(net, x)
    theirs = torchattacks.MIFGSM(net, eps=EPS, alpha=step_size, steps=steps, decay=decay)(x, y)
    ours = mim(net, x, y, threat=Threat("inf", EPS), steps=steps, step_size=step_size, decay=decay)
    assert torch.equal(ours, theirs)


def _reference(
    net: nn.Module, x: Tensor, y: Tensor, threat: Threat, steps: int, length: float, decay: float
) -> Tensor:
    """One example at a time, as the paper writes it."""
    finished = []
    for image, label in zip(x, y, strict=True):
        x_adv, momentum = image.clone(), torch.zeros_like(image)
        for _ in range(steps):
            leaf = x_adv.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf[None]), label[None]), leaf)
            momentum = decay * momentum + gradient / gradient.abs().sum()
            if threat.linf:
                x_adv = x_adv + length * momentum.sign()
                x_adv = torch.minimum(torch.maximum(x_adv, image - threat.eps), image + threat.eps)
            else:
                delta = x_adv + length * momentum / momentum.norm() - image
                x_adv = image + delta * min(1.0, threat.eps / delta.norm().item())
            x_adv = x_adv.clamp(0, 1)
        finished.append(x_adv)
    return torch.stack(finished)


@pytest.mark.parametrize("threat", [Threat("inf", EPS), Threat(2, 0.4)], ids=["linf", "l2"])
@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_equals_the_formula(threat: Threat, decay: float) -> None:
    net, x = small_net().double(), images(7, 3, 9, 6).double()
    y = predictions(net, x)
    ours = mim(net, x, y, threat=threat, steps=6, step_size=threat.eps / 4, decay=decay)
    assert torch.allclose(ours, _reference(net, x, y, threat, 6, threat.eps / 4, decay), rtol=0, atol=1e-9)


def test_default_step_is_eps_over_steps_and_no_momentum_is_bim() -> None:
    net, x = small_net(), images(8)
    y, threat = predictions(net, x), Threat("inf", EPS)
    ours = mim(net, x, y, threat=threat, steps=4, decay=0.0)
    assert torch.equal(ours, pgd(net, x, y, threat=threat, steps=4, step_size=EPS / 4, start=None))


def test_a_faint_gradient_keeps_its_direction() -> None:
    # Gradients of a saturated network are as small as 1e-30; dividing by a floor such as 1e-12 would erase their momentum.
    net, x = small_net().double(), images(6).double()
    y, threat = predictions(net, x), Threat("inf", EPS)

    def faint(logits: Tensor, labels: Tensor) -> Tensor:
        return 1e-30 * F.cross_entropy(logits, labels, reduction="none")

    plain = mim(net, x, y, threat=threat, steps=5)
    assert torch.allclose(mim(net, x, y, threat=threat, steps=5, objective=faint), plain, rtol=0, atol=1e-9)


def test_stopping_on_success_fools_at_least_as_many() -> None:
    net, x = small_net(), images(32)
    y, threat = predictions(net, x), Threat("inf", 2 / 255)
    full = predictions(net, mim(net, x, y, threat=threat, steps=4)) != y
    stopped = predictions(net, mim(net, x, y, threat=threat, steps=4, stop_on_success=True)) != y
    assert full.any() and not full.all()
    assert (stopped >= full).all()
