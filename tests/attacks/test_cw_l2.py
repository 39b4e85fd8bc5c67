"""CW-L2: foolbox's distances, the closed form on a linear model, and what weak settings do."""

import foolbox
import pytest
import torch

from advarch.attacks.cw_l2 import cw_l2
from advarch.attacks.objectives import margin
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net

WIDE = Threat(2, 0.99)


def _foolbox(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, **settings: object) -> torch.Tensor:
    fmodel = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    found: torch.Tensor = foolbox.attacks.L2CarliniWagnerAttack(**settings)(fmodel, x, y, epsilons=None)[1]
    return found


def test_equals_foolbox_where_nothing_is_aborted() -> None:
    net, x = small_net(), images(16)
    y = predictions(net, x)
    theirs = _foolbox(net, x, y, binary_search_steps=5, steps=60, abort_early=False)
    ours = cw_l2(net, x, y, threat=WIDE, search_steps=5, steps=60, abort_early=False, clip_to_ball=False)
    assert (predictions(net, ours) != y).all() and (predictions(net, theirs) != y).all()
    ratio = WIDE.distance(ours, x).mean() / WIDE.distance(theirs, x).mean()
    assert 0.999 < ratio < 1.001


def test_mean_distance_at_most_five_per_cent_above_foolbox() -> None:
    # foolbox aborts the whole batch by its summed loss, here each example leaves on its own.
    net, x = small_net(), images(12)
    y = predictions(net, x)
    theirs = _foolbox(net, x, y, binary_search_steps=5, steps=120)
    ours = cw_l2(net, x, y, threat=WIDE, search_steps=5, steps=120, clip_to_ball=False)
    assert (predictions(net, ours) != y).all()
    assert WIDE.distance(ours, x).mean() <= 1.05 * WIDE.distance(theirs, x).mean()


@pytest.mark.parametrize("classes", [2, 10])
def test_close_to_the_closed_form_on_a_linear_model(classes: int) -> None:
    model, x = Linear(classes), interior(24)
    y = predictions(model, x)
    x_adv = cw_l2(model, x, y, threat=WIDE, steps=200, search_steps=6, initial_c=0.01, clip_to_ball=False)
    assert (predictions(model, x_adv) != y).all()
    closed = model.distance(x, y, 2)
    ratio = WIDE.distance(x_adv, x) / closed
    # Adam's steps of 0.01 are too coarse for the few images that lie nearer than that.
    far = closed > 2e-3
    assert far.sum() >= 20 and (ratio >= 1.0).all() and (ratio[far] <= 1.25).all()


def test_confidence_is_reached() -> None:
    net, x = small_net(), images(12)
    y = predictions(net, x)
    with torch.no_grad():
        for confidence in (0.0, 1.0):
            settings = {"steps": 60, "search_steps": 3, "initial_c": 0.5, "confidence": confidence}
            x_adv = cw_l2(net, x, y, threat=WIDE, clip_to_ball=False, **settings)
            assert (margin(net(x_adv), y) > confidence).all()


def test_one_small_constant_is_weak() -> None:
    net, x = small_net(), images(32)
    y = predictions(net, x)
    weak = cw_l2(net, x, y, threat=WIDE, steps=60, search_steps=1, initial_c=1e-5, clip_to_ball=False)
    full = cw_l2(net, x, y, threat=WIDE, steps=60, search_steps=6, clip_to_ball=False)
    fooled = predictions(net, weak) != y
    assert (predictions(net, full) != y).all() and fooled.double().mean() < 0.5
    assert torch.equal(weak[~fooled], x[~fooled])


def test_more_search_never_lengthens() -> None:
    net, x = small_net(), images(12)
    y = predictions(net, x)
    length = [
        WIDE.distance(
            cw_l2(net, x, y, threat=WIDE, steps=40, search_steps=n, initial_c=1.0, clip_to_ball=False), x
        )
        for n in (1, 3)
    ]
    assert (length[1] <= length[0]).all() and (length[1] < length[0]).any()


def test_pixels_on_the_faces_of_the_box_move() -> None:
    # Without the factor 0.999999 these pixels start at atanh(1) and stay there, or turn to NaN.
    net, x = small_net(), images(4).round()
    y = predictions(net, x)
    settings = {"steps": 900, "search_steps": 1, "initial_c": 10.0}
    x_adv = cw_l2(net, x, y, threat=WIDE, clip_to_ball=False, **settings)
    assert (predictions(net, x_adv) != y).all()
    assert ((x_adv - x).abs().flatten(1).amax(1) > 1e-3).all()
