"""The worst case of several attacks, and AutoAttack standard against the published code, image by image."""

import logging
from functools import partial

import pytest
import torch
from pyautoattack import AutoAttack
from torch import nn

from advarch.attacks.apgd import apgd
from advarch.attacks.apgd_t import apgd_t
from advarch.attacks.dlr import dlr
from advarch.attacks.fab import fab_t
from advarch.attacks.objectives import margin
from advarch.attacks.pgd import pgd
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import images, predictions, small_net


def standard(threat, steps=100, queries=5000):
    """AutoAttack standard."""
    size = 2 * threat.eps
    return {
        "apgd_ce": partial(apgd, threat=threat, steps=steps, step_size=size),
        "apgd_t": partial(apgd_t, threat=threat, steps=steps, step_size=size),
        "fab_t": partial(fab_t, threat=threat, steps=steps),
        "square": partial(square, threat=threat, queries=queries),
    }


def recording(attacks):
    """The same attacks, and a list of (name, images seen)."""
    seen = []

    def listen(name, attack):
        def listened(model, x, y, **kwargs):
            seen.append((name, len(x)))
            return attack(model, x, y, **kwargs)

        return listened

    return {name: listen(name, attack) for name, attack in attacks.items()}, seen


@pytest.mark.parametrize("norm, published, eps", [("inf", "Linf", 0.005), ("2", "L2", 0.04)])
@pytest.mark.slow
def test_autoattack_standard_gives_the_published_verdict_on_every_image(norm, published, eps):
    net, x = small_net(), images(12, seed=2)
    y = predictions(net, x)
    reference = AutoAttack(net, norm=published, eps=eps, version="standard", seed=0, device="cpu")
    reference.verbose = False
    assert reference.square.n_queries == 5000
    logging.disable(logging.CRITICAL)
    try:
        expected, _ = reference.run_standard_evaluation(x, y, batch_size=250)
    finally:
        logging.disable(logging.NOTSET)
    attacks, seen = recording(standard(Threat(norm, eps)))
    found = sequence(net, x, y, attacks=attacks, generator=ExampleGenerator(0, torch.arange(len(x))))
    robust = predictions(net, found) == y
    assert torch.equal(robust, predictions(net, expected) == y)
    assert 0 < robust.sum() < len(x)
    assert [name for name, _ in seen] == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert seen[0][1] == len(x) and seen[1][1] > seen[2][1] >= seen[3][1] >= robust.sum()
    assert (Threat(norm, eps).distance(found, x) <= eps + 1e-6).all()


def test_an_image_keeps_its_first_fooling_point_and_its_worst_one_where_it_stands():
    net, x = small_net(), images(16)
    y = predictions(net, x)
    threat = Threat("inf", 0.02)
    weak = partial(pgd, threat=threat, steps=1, step_size=0.005)
    strong = partial(apgd, threat=threat, steps=30, step_size=0.04, objective=dlr)
    attacks, seen = recording({"weak": weak, "strong": strong, "weak_again": weak})
    generator = ExampleGenerator(3, torch.arange(16))
    found = sequence(net, x, y, attacks=attacks, generator=generator)
    first = weak(net, x, y, generator=generator.child("weak"))
    fell = predictions(net, first) != y
    assert torch.equal(found[fell], first[fell])
    assert seen[0] == ("weak", 16) and seen[1] == ("strong", int((~fell).sum())) and seen[2][1] < seen[1][1]
    alone = sequence(net, x, y, attacks={"strong": strong}, generator=generator)
    robust = predictions(net, found) == y
    assert torch.equal(robust, (predictions(net, alone) == y) & ~fell)
    margins = [margin(net(points), y)[robust] for points in (found, x)]
    assert (margins[0] > margins[1]).all()


def test_the_order_of_attacks_and_batches_changes_no_verdict():
    net, x = small_net().double(), images(8).double()
    y = predictions(net, x)
    attacks = standard(Threat("inf", 0.02), steps=20, queries=60)
    generator = ExampleGenerator(3, torch.arange(8))
    expected = predictions(net, sequence(net, x, y, attacks=attacks, generator=generator)) == y
    backwards = dict(reversed(attacks.items()))
    assert torch.equal(
        predictions(net, sequence(net, x, y, attacks=backwards, generator=generator)) == y, expected
    )
    halves = [torch.arange(8)[1::2], torch.arange(8)[::2]]
    for part in halves:
        found = sequence(net, x[part], y[part], attacks=attacks, generator=generator[part])
        assert torch.equal(predictions(net, found) == y[part], expected[part])


def test_leaves_everything_as_found():
    net, x = nn.Sequential(nn.BatchNorm2d(3), small_net()).train(), images(6)
    net[0].eval()
    net[1][0].weight.requires_grad_(False)
    y = predictions(net, x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()] + [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    sequence(net, x, y, attacks=standard(Threat("inf", 0.02), steps=4, queries=5))
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [module.training for module in net.modules()] + [
        p.requires_grad for p in net.parameters()
    ]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_class_counts_zero_radius_wrong_labels_and_no_images(norm, classes):
    net, x = small_net(classes, 1), images(5, 1, 6, 9)
    y = predictions(net, x)
    run = partial(sequence, net, attacks=standard(Threat(norm, 0.1), steps=6, queries=10))
    found = run(x, y)
    assert found.isfinite().all() and (Threat(norm, 0.1).distance(found, x) <= 0.1 + 1e-6).all()
    assert torch.equal(run(x, (y + 1) % classes), x) and run(x[:0], y[:0]).shape == x[:0].shape
    assert torch.equal(sequence(net, x, y, attacks=standard(Threat(norm, 0.0))), x)
    with pytest.raises(ValueError, match="at least one"):
        sequence(net, x, y, attacks={})
