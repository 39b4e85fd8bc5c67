"""DeepFool: two libraries' distances, and the closed form on a linear model."""

import foolbox
import pytest
import torch
import torchattacks

from advarch.attacks.deepfool import deepfool
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net


@pytest.mark.parametrize(("norm", "dual"), [("inf", 1), (2, 2)], ids=["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 10])
def test_closed_form_on_a_linear_model(classes: int, norm: str | int, dual: int) -> None:
    # One step crosses the nearest boundary, longer than it need be by the authors' 1e-4 and by the overshoot.
    model, x, threat = Linear(classes), interior(24), Threat(norm, 0.9)
    y = predictions(model, x)
    x_adv = deepfool(model, x, y, threat=threat, clip_to_ball=False)
    assert (predictions(model, x_adv) != y).all()
    wanted = 1.02 * (model.distance(x, y, dual) + 1e-4)
    assert torch.allclose(threat.distance(x_adv, x), wanted, rtol=1e-9)
    plain = model.distance(x, y, dual)
    assert (wanted <= 1.25 * plain)[plain > 1e-3].all()


@pytest.mark.parametrize("norm", ["inf", 2])
def test_equals_foolbox_with_its_ten_candidates(norm: str | int) -> None:
    net, x = small_net(12), images(24)
    y, threat = predictions(net, x), Threat(norm, 0.9)
    attacks = {"inf": foolbox.attacks.LinfDeepFoolAttack, 2: foolbox.attacks.L2DeepFoolAttack}
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    theirs = attacks[norm](steps=50, overshoot=0.02)(fmodel, x, y, epsilons=None)[1]
    ours = deepfool(net, x, y, threat=threat, clip_to_ball=False)
    assert (predictions(net, ours) != y).all() and (predictions(net, theirs) != y).all()
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_mean_distance_within_one_per_cent_of_torchattacks() -> None:
    # torchattacks looks at all classes, adds no 1e-4, and lengthens every step instead of their sum.
    net, x = small_net(12), images(24)
    y, threat = predictions(net, x), Threat(2, 0.9)
    theirs = torchattacks.DeepFool(net, steps=50, overshoot=0.02)(x, y)
    ours = deepfool(net, x, y, threat=threat, candidates=None, clip_to_ball=False)
    assert (predictions(net, ours) != y).all()
    ratio = threat.distance(ours, x).mean() / threat.distance(theirs, x).mean()
    assert 0.99 < ratio < 1.01


def test_norm_defaults_to_the_threats_own() -> None:
    net, x = small_net(), images(8)
    y, threat = predictions(net, x), Threat("inf", 0.9)
    free = {
        norm: deepfool(net, x, y, threat=threat, norm=norm, clip_to_ball=False)
        for norm in (None, "linf", "l2")
    }
    assert torch.equal(free[None], free["linf"])
    assert threat.distance(free["linf"], x).mean() < threat.distance(free["l2"], x).mean()
    assert Threat(2, 0.9).distance(free["l2"], x).mean() < Threat(2, 0.9).distance(free["linf"], x).mean()


def test_two_candidates_look_at_the_runner_up_only() -> None:
    model, x = Linear(6), interior(16)
    y = predictions(model, x)
    x_adv = deepfool(model, x, y, threat=Threat(2, 0.9), candidates=2, clip_to_ball=False)
    with torch.no_grad():
        runner_up = model(x).topk(2, dim=1).indices[:, 1]
    slope = (model.weight[runner_up] - model.weight[y]).detach()
    direction = (x_adv - x).flatten(1)
    cosine = (slope * direction).sum(1) / slope.norm(dim=1) / direction.norm(dim=1)
    assert torch.allclose(cosine, torch.ones_like(cosine))


def test_no_steps_return_the_image_and_few_return_the_last_point() -> None:
    net, x = small_net(), images(6)
    y, threat = predictions(net, x), Threat(2, 0.9)
    assert torch.equal(deepfool(net, x, y, threat=threat, steps=0), x)
    short = deepfool(net, x, y, threat=threat, steps=1, overshoot=0.0, clip_to_ball=False)
    assert (threat.distance(short, x) > 0).all()
