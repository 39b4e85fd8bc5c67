"""What every gradient attack promises, whatever its mathematics."""

import random
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.cw_l2 import cw_l2
from advarch.attacks.cw_linf import cw_linf
from advarch.attacks.deepfool import deepfool
from advarch.attacks.fgsm import fgsm
from advarch.attacks.gama import gama
from advarch.attacks.mim import mim
from advarch.attacks.pgd import pgd
from advarch.attacks.rfgsm import rfgsm, rfgsm_iterated
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net

Bound = Callable[..., Tensor]

FIXED_BUDGET: dict[str, Callable[[Threat], Bound]] = {
    "fgsm": lambda t: partial(fgsm, threat=t),
    "bim": lambda t: partial(pgd, threat=t, steps=5, step_size=t.eps / 4, start=None),
    "rfgsm_iterated": lambda t: partial(rfgsm_iterated, threat=t, steps=8, step_size=t.eps / 2),
    "mim": lambda t: partial(mim, threat=t, steps=5),
    "mim_stopping": lambda t: partial(mim, threat=t, steps=5, step_size=t.eps / 3, stop_on_success=True),
    "cw_linf": lambda t: partial(cw_linf, threat=t, steps=20, step_size=t.eps / 5),
    "cw_linf_confident": lambda t: partial(cw_linf, threat=t, steps=20, step_size=t.eps / 5, confidence=50.0),
    "gama": lambda t: partial(
        gama, threat=t, steps=12, step_size=2 * t.eps, decay_at=(8, 10), weight_steps=4, reference="clean"
    ),
    "gama_restarts": lambda t: partial(
        gama,
        threat=t,
        steps=9,
        step_size=2 * t.eps,
        weight_steps=3,
        reference="start",
        restarts=2,
        stop_on_success=True,
    ),
}
MINIMUM_NORM: dict[str, Callable[[Threat], Bound]] = {
    "deepfool": lambda t: partial(deepfool, threat=t, steps=8),
    "deepfool_l2": lambda t: partial(deepfool, threat=t, steps=8, norm="l2", candidates=30),
    "cw_l2": lambda t: partial(cw_l2, threat=t, steps=30, search_steps=3, initial_c=1.0),
    "cw_l2_weak": lambda t: partial(cw_l2, threat=t, steps=30, search_steps=1, initial_c=1e-4),
}
ATTACKS = FIXED_BUDGET | MINIMUM_NORM | {"rfgsm": lambda t: partial(rfgsm, threat=t, random_step=t.eps / 2)}
THREATS = [Threat("inf", 8 / 255), Threat(2, 0.3)]

every_attack = pytest.mark.parametrize("name", ATTACKS)
every_threat = pytest.mark.parametrize("threat", THREATS, ids=["linf", "l2"])


def streams(count: int, seed: int = 7) -> ExampleGenerator:
    return ExampleGenerator(seed, torch.arange(count))


def some_wrong(y: Tensor, classes: int) -> Tensor:
    """Labels of which every fifth is not what the net says."""
    wrong = torch.arange(len(y)) % 5 == 4
    return torch.where(wrong, (y + 1) % classes, y)


@every_attack
@every_threat
def test_inside_ball_and_box_and_no_better_than_clean(name: str, threat: Threat) -> None:
    net, x = small_net(), images(20)
    y = some_wrong(predictions(net, x), 10)
    before, labels = x.clone(), y.clone()
    x_adv = ATTACKS[name](threat)(net, x, y, generator=streams(20))
    assert x_adv.shape == x.shape and x_adv.dtype == x.dtype and not x_adv.requires_grad
    assert x_adv.isfinite().all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert (threat.distance(x_adv, x) <= threat.eps + 1e-6).all()
    assert (predictions(net, x_adv) == y).sum() <= (predictions(net, x) == y).sum()
    assert torch.equal(x, before) and torch.equal(y, labels)


@every_attack
@every_threat
def test_independent_of_batch_and_order(name: str, threat: Threat) -> None:
    # Double precision: the rounding of a convolution differs with the batch size, and a sign can hang on it.
    net, x = small_net().double(), images(10).double()
    y = some_wrong(predictions(net, x), 10)
    attack, generator = ATTACKS[name](threat), streams(10)
    together = attack(net, x, y, generator=streams(10))
    one_by_one = torch.cat(
        [attack(net, x[[i]], y[[i]], generator=generator[torch.tensor([i])]) for i in range(10)]
    )
    assert torch.allclose(together, one_by_one, rtol=0, atol=1e-9)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    permuted = attack(net, x[order], y[order], generator=generator[order])
    assert torch.allclose(together[order], permuted, rtol=0, atol=1e-9)


@every_attack
@every_threat
def test_eps_zero_returns_the_image(name: str, threat: Threat) -> None:
    net, x = small_net(), images(6)
    zero = Threat(threat.norm, 0.0)
    assert torch.equal(ATTACKS[name](zero)(net, x, predictions(net, x), generator=streams(6)), x)


@every_attack
@pytest.mark.parametrize("classes", [2, 3, 10, 100, 1000])
def test_any_number_of_classes_one_channel_not_square(name: str, classes: int) -> None:
    net = small_net(classes, channels=1)
    for count in (1, 3):
        x = images(count, 1, 7, 12)
        y = predictions(net, x)
        x_adv = ATTACKS[name](THREATS[0])(net, x, y, generator=streams(count))
        assert x_adv.shape == x.shape and x_adv.isfinite().all()
        assert (THREATS[0].distance(x_adv, x) <= THREATS[0].eps + 1e-6).all()


@every_attack
def test_an_empty_batch_comes_back_empty(name: str) -> None:
    x = torch.empty(0, 3, 8, 8)
    x_adv = ATTACKS[name](THREATS[0])(small_net(), x, torch.empty(0, dtype=torch.long), generator=streams(0))
    assert x_adv.shape == x.shape


@every_attack
def test_model_and_global_state_are_left_as_found(name: str) -> None:
    net = small_net()
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Identity(), net)
    norm, convolution = model[0], net[0]
    model.train()
    norm.eval()  # a frozen norm inside a training model
    convolution.weight.requires_grad_(False)
    net[-1].weight.grad = torch.ones_like(net[-1].weight)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch_state, numpy_state, python_state = (
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),  # noqa: NPY002
        random.getstate(),
    )
    x = images(5)
    for generator in (None, streams(5), torch.Generator().manual_seed(0)):
        ATTACKS[name](THREATS[0])(model, x, torch.arange(5), generator=generator)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(net[-1].weight.grad, torch.ones_like(net[-1].weight))
    assert all(p.grad is None for p in model.parameters() if p is not net[-1].weight)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all() and random.getstate() == python_state  # noqa: NPY002


@every_attack
def test_deterministic_without_a_generator(name: str) -> None:
    net, x = small_net(), images(4)
    attack, y = ATTACKS[name](THREATS[0]), predictions(net, x)
    assert torch.equal(attack(net, x, y), attack(net, x, y))


@every_attack
@every_threat
def test_zero_gradients_give_no_nan(name: str, threat: Threat) -> None:
    def constant(x: Tensor) -> Tensor:
        return 0.0 * x.flatten(1)[:, :4] + torch.tensor([3.0, 1.0, 0.0, -2.0])

    x = images(4)
    x_adv = ATTACKS[name](threat)(constant, x, torch.tensor([0, 0, 0, 1]), generator=streams(4))
    assert x_adv.isfinite().all() and (threat.distance(x_adv, x) <= threat.eps + 1e-6).all()


@every_attack
def test_no_grad_is_no_obstacle_and_inference_mode_is_refused(name: str) -> None:
    net, x = small_net(), images(4)
    attack, y = ATTACKS[name](THREATS[0]), predictions(net, x)
    with torch.no_grad():
        inside = attack(net, x, y)
    assert torch.equal(inside, attack(net, x, y))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        attack(net, x, y)


@every_attack
def test_shifted_logits_change_nothing(name: str) -> None:
    net, x = small_net().double(), images(8).double()
    threat, y = Threat("inf", 0.3), predictions(net, x)
    attack = ATTACKS[name](threat)
    plain = attack(net, x, y, generator=streams(8))
    shifted = attack(lambda images: net(images) - 100.0, x, y, generator=streams(8))
    assert torch.equal(predictions(net, plain), predictions(net, shifted))
    if name not in ("rfgsm", "fgsm", "cw_l2_weak"):
        assert (predictions(net, shifted) != y).all()


@every_attack
def test_bad_images_are_refused(name: str) -> None:
    attack = ATTACKS[name](THREATS[0])
    for x in (images(2) + 1.0, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), images(2)[0]):
        with pytest.raises(ValueError, match="expected"):
            attack(small_net(), x, torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize("name", FIXED_BUDGET)
@pytest.mark.parametrize(("norm", "dual"), [("inf", 1), (2, 2)], ids=["linf", "l2"])
def test_optimal_on_a_linear_model_of_two_classes(name: str, norm: str | int, dual: int) -> None:
    model, x = Linear(2), interior(24)
    y = predictions(model, x)
    distance = model.distance(x, y, dual)
    ordered = distance.sort().values
    for rank in (4, 12, 20):
        eps = (ordered[rank - 1] + ordered[rank]).item() / 2
        x_adv = FIXED_BUDGET[name](Threat(norm, eps))(model, x, y, generator=streams(24))
        assert torch.equal(predictions(model, x_adv) != y, distance < eps)


@pytest.mark.parametrize("name", ["deepfool", "deepfool_l2", "cw_l2"])
@every_threat
def test_minimum_norm_points_are_projected_only_where_they_lie_outside(name: str, threat: Threat) -> None:
    net, x = small_net(), images(16)
    y = some_wrong(predictions(net, x), 10)
    free = MINIMUM_NORM[name](threat)(net, x, y, clip_to_ball=False)
    distance = threat.distance(free, x)
    half = Threat(threat.norm, distance[distance > 0].median().item())
    kept = MINIMUM_NORM[name](half)(net, x, y)
    inside = threat.distance(free, x) <= half.eps
    assert inside.any() and not inside.all()
    assert torch.equal(kept[inside], free[inside])
    assert torch.allclose(half.distance(kept, x)[~inside], torch.tensor(half.eps), rtol=1e-4)
    assert torch.equal(free[predictions(net, x) != y], x[predictions(net, x) != y])
