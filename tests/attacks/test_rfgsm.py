"""R-FGSM: the two-step form and the iterated one against torchattacks, and against the formula."""

import pytest
import torch
import torchattacks

from advarch.attacks.rfgsm import rfgsm, rfgsm_iterated
from advarch.noise import normal
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net

EPS = 8 / 255


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def same_noise() -> object:
    """torchattacks draws from the global state; give it the stream that ours draws from, and put the state back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def test_two_step_form_equals_torchattacks(same_noise: object) -> None:
    net, x = small_net(), images(16)
    y = predictions(net, x)
    theirs = torchattacks.RFGSM(net, eps=EPS, alpha=EPS / 2, steps=1)(x, y)
    ours = rfgsm(net, x, y, threat=Threat("inf", EPS), random_step=EPS / 2, generator=seeded())
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("step_size", "steps"), [(EPS, 1), (2 / 255, 10)])
def test_iterated_form_equals_torchattacks(same_noise: object, step_size: float, steps: int) -> None:
    net, x = small_net(), images(16)
    y = predictions(net, x)
    theirs = torchattacks.RFGSM(net, eps=EPS, alpha=step_size, steps=steps)(x, y)
    ours = rfgsm_iterated(
        net, x, y, threat=Threat("inf", EPS), steps=steps, step_size=step_size, generator=seeded()
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_both_steps_on_a_linear_model(share: float) -> None:
    # Inside the box: x + a sign(n) + (eps - a) sign(w_other - w_y), wherever a lies between 0 and eps.
    model, x = Linear(2), interior(8)
    y, a = predictions(model, x), share * EPS
    ours = rfgsm(model, x, y, threat=Threat("inf", EPS), random_step=a, generator=seeded())
    slope = (model.weight[1 - y] - model.weight[y]).detach().view_as(x)
    wanted = x + a * normal(x, seeded()).sign() + (EPS - a) * slope.sign()
    assert torch.allclose(ours, wanted, rtol=0, atol=1e-12)


def test_l2_form_on_a_linear_model() -> None:
    model, x, eps = Linear(2), interior(8), 0.3
    y = predictions(model, x)
    ours = rfgsm(model, x, y, threat=Threat(2, eps), random_step=eps / 2, generator=seeded())
    noise = normal(x, seeded())
    slope = (model.weight[1 - y] - model.weight[y]).detach().view_as(x)
    unit = [v / v.flatten(1).norm(dim=1)[:, None, None, None] for v in (noise, slope)]
    assert torch.allclose(ours, x + eps / 2 * (unit[0] + unit[1]), rtol=0, atol=1e-12)


def test_the_libraries_old_step_cancels_in_half_of_the_pixels() -> None:
    model, x = Linear(2, (3, 16, 16)), interior(4, (3, 16, 16))
    y = predictions(model, x)
    ours = rfgsm_iterated(model, x, y, threat=Threat("inf", EPS), steps=1, step_size=EPS, generator=seeded())
    still = (ours - x).abs() < 1e-9
    assert 0.45 < still.double().mean() < 0.55
    assert torch.allclose((ours - x)[~still].abs(), torch.tensor(EPS, dtype=torch.float64))


def test_a_random_step_longer_than_eps_is_refused() -> None:
    net, x = small_net(), images(2)
    with pytest.raises(ValueError, match=r"random_step: expected at most eps .* came 0.1"):
        rfgsm(net, x, predictions(net, x), threat=Threat("inf", EPS), random_step=0.1)
