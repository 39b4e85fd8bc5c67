"""GAMA-PGD against its formula written plainly."""

import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.gama import coin_start, gama
from advarch.attacks.objectives import guided_margin, probability_margin
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import images, predictions, small_net

EPS = 8 / 255
THREAT = Threat("inf", EPS)


def test_objectives_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))
    reference = torch.log(torch.tensor([[0.6, 0.2, 0.2], [0.1, 0.2, 0.7]])) - 3.0
    y = torch.tensor([0, 1])
    assert torch.allclose(probability_margin(logits, y), torch.tensor([-0.2, 0.5]))
    assert torch.allclose(guided_margin(reference, 50.0)(logits, y), torch.tensor([-0.2 + 50 * 0.02, 0.5]))


def test_start_is_a_fair_coin_per_pixel() -> None:
    x = torch.full((64, 3, 8, 8), 0.5)
    delta = coin_start(x, THREAT, ExampleGenerator(0, torch.arange(64))) - x
    assert torch.allclose(delta.abs(), torch.tensor(EPS))
    assert (delta > 0).double().mean() == pytest.approx(0.5, abs=0.02)
    assert len({tuple(row) for row in (delta > 0).flatten(1).tolist()}) == 64
    sphere = coin_start(x, Threat(2, 0.3), ExampleGenerator(0, torch.arange(64)))
    assert torch.allclose(Threat(2, 0.3).distance(sphere, x), torch.tensor(0.3))


def _reference(
    net: nn.Module, x: Tensor, y: Tensor, start: Tensor, steps: int, decay_at: tuple[int, ...], clean: bool
) -> Tensor:
    """One example at a time; lambda comes down from 50 by 50/25 a step, the guide's probabilities anew each time."""
    finished = []
    for image, label, begin in zip(x, y, start, strict=True):
        x_adv, length, weight = begin, 2 * EPS, 50.0
        for step in range(steps):
            if step in decay_at:
                length /= 10
            leaf = x_adv.clone().requires_grad_()
            p = net(leaf[None])[0].softmax(0)
            guide = net((image if clean else begin)[None])[0].softmax(0).detach()
            others = torch.cat([p[:label], p[label + 1 :]])
            loss = others.max() - p[label] + weight * ((p - guide) ** 2).sum()
            (gradient,) = torch.autograd.grad(loss, leaf)
            weight = max(weight - 2.0, 0.0)
            x_adv = x_adv + length * gradient.sign()
            x_adv = torch.minimum(torch.maximum(x_adv, image - EPS), image + EPS).clamp(0, 1)
        finished.append(x_adv)
    return torch.stack(finished)


@pytest.mark.parametrize("reference", ["clean", "start"])
@pytest.mark.parametrize("classes", [2, 10])
def test_equals_the_formula(reference: str, classes: int) -> None:
    net, x = small_net(classes, sharpness=2.0).double(), images(6).double()
    y = predictions(net, x)
    start = coin_start(x, THREAT, torch.Generator().manual_seed(2))
    ours = gama(
        net,
        x,
        y,
        threat=THREAT,
        steps=40,
        step_size=2 * EPS,
        decay_at=[30, 35],
        reference=reference,
        generator=torch.Generator().manual_seed(2),
    )
    wanted = _reference(net, x, y, start, 40, (30, 35), reference == "clean")
    assert torch.allclose(ours, wanted, rtol=0, atol=1e-9)


def test_the_reference_is_computed_once() -> None:
    calls = []

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return net(images)

    net, x = small_net(), images(4)
    gama(counted, x, predictions(net, x), threat=THREAT, steps=10, step_size=2 * EPS)
    assert len(calls) == 11


def test_restarts_and_stopping_fool_at_least_as_many() -> None:
    net, x = small_net(), images(32)
    y, threat = predictions(net, x), Threat("inf", 1.5 / 255)
    fooled = []
    for options in ({}, {"stop_on_success": True}, {"restarts": 3}):
        generator = ExampleGenerator(0, torch.arange(32))
        x_adv = gama(
            net,
            x,
            y,
            threat=threat,
            steps=6,
            step_size=2 * threat.eps,
            decay_at=(4,),
            weight_steps=2,
            generator=generator,
            **options,
        )
        fooled.append(predictions(net, x_adv) != y)
    assert fooled[0].any() and not fooled[0].all()
    assert (fooled[1] >= fooled[0]).all() and (fooled[2] >= fooled[0]).all()


def test_an_unknown_reference_is_refused() -> None:
    net, x = small_net(), images(2)
    with pytest.raises(ValueError, match="reference: expected clean or start, came 'noise'"):
        gama(net, x, predictions(net, x), threat=THREAT, steps=1, step_size=EPS, reference="noise")
