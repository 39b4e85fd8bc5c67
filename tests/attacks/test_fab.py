"""FAB and FAB-T: against the published code, closed forms, and the rules of the house."""

import pytest
import torch
from pyautoattack.fab_projections import projection_l2, projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from torch import nn

from advarch.attacks.box_hyperplane import to_hyperplane
from advarch.attacks.fab import fab, fab_t
from advarch.attacks.fab_run import Settings, run_fab, towards
from advarch.attacks.targets import likeliest_targets
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from tests.attacks.small_nets import Linear, images, interior, predictions, small_net

BALLS = [("inf", "Linf", 0.02), ("2", "L2", 0.15)]
ATTACKS = [fab, fab_t]


def _planes(seed=0):
    torch.manual_seed(seed)
    points, normal = torch.rand(40, 60), torch.randn(40, 60)
    points[:, :20] = points[:, :20].round()
    normal[:, ::7] = 0.0
    return points, normal, 10.0 * torch.randn(40)


@pytest.mark.parametrize("linf, published", [(True, projection_linf), (False, projection_l2)])
def test_projection_equals_the_published_one(linf, published):
    points, normal, value = _planes()
    offset = (normal * points).sum(1) - value
    expected = published(points, normal.clone(), offset.clone())
    found = to_hyperplane(points[None], normal, value[None], linf)[0]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("linf", [True, False])
def test_projection_is_optimal(linf):
    points, normal, value = (t.double() for t in _planes(1))
    d = to_hyperplane(points[None], normal, value[None], linf)[0]
    assert (points + d).amin() >= -1e-12 and (points + d).amax() <= 1 + 1e-12
    missed = value + (normal * d).sum(1)
    reach = torch.where((normal > 0) ^ (value[:, None] > 0), 1 - points, points)
    possible = (normal.abs() * reach).sum(1) >= value.abs()
    assert possible.any() and not possible.all()
    assert missed[possible].abs().amax() < 1e-9
    torch.testing.assert_close(d.abs()[~possible], (reach * (normal != 0))[~possible])
    # Optimality: coordinates that are not at the end of the box share one |d_i| (l_inf) or |d_i| / |w_i| (l_2).
    free = (d.abs() < reach - 1e-9) & (normal != 0)
    ratio = d.abs() if linf else d.abs() / normal.abs()
    for i in possible.nonzero().squeeze(1):
        shared = ratio[i][free[i]]
        assert shared.amax() - shared.amin() < 1e-9
        assert (ratio[i][~free[i] & (normal[i] != 0)] <= shared.amax() + 1e-9).all()


def test_projection_with_no_gradient_moves_nothing():
    for linf in (True, False):
        for size in (0.0, 1e-42, 1e-30):
            d = to_hyperplane(torch.rand(1, 3, 8), torch.full((3, 8), size), torch.randn(1, 3), linf)
            assert d.isfinite().all() and d.abs().amax() <= 1
            assert size > 0 or (d == 0).all()


@pytest.mark.parametrize("norm, published, eps", BALLS)
def test_a_targeted_run_comes_as_near_as_the_published_one(norm, published, eps):
    net, x = small_net(), images(24)
    y = predictions(net, x)
    threat = Threat(norm, eps)
    reference = FABAttack_PT(net, norm=published, n_iter=100, eps=eps, targeted=True, device="cpu")
    target = likeliest_targets(net(x).detach(), 9)
    settings = Settings(threat, 100, 0.1, 1.05, 0.9, False)
    for rank in (0, 4):
        reference.target_class = rank + 2
        expected = threat.distance(reference.attack_single_run(x, y, is_targeted=True), x)
        run = run_fab(net, x, x, y, towards(net, y, target[:, rank]), settings, torch.arange(len(x)))
        reached = expected > 0
        assert torch.equal(run.distance.isfinite(), reached) and reached.sum() > 12
        ratio = run.distance[reached] / expected[reached]
        assert ratio.median().sub(1).abs() < 1e-3 and ratio.mean() < 1.01 and ratio.amax() < 1.1


@pytest.mark.parametrize("norm, published, eps", BALLS)
def test_the_verdict_is_the_published_one(norm, published, eps):
    net, x = small_net(), images(16, seed=1)
    y = predictions(net, x)
    threat = Threat(norm, eps)
    reference = FABAttack_PT(net, norm=published, n_iter=50, eps=eps, targeted=True, device="cpu")
    for targeted, attack in ((True, fab_t), (False, fab)):
        reference.targeted = targeted
        reference.n_restarts = 1
        expected = predictions(net, reference.perturb(x, y)) == y
        assert 0 < expected.sum() < len(x)
        for stop in (True, False):
            found = attack(net, x, y, threat=threat, steps=50, stop_on_success=stop)
            assert torch.equal(predictions(net, found) == y, expected)
            assert torch.equal(found[expected], x[expected])
            assert (threat.distance(found, x) <= eps + 1e-6).all()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm, dual", [("inf", 1), ("2", 2)])
def test_finds_the_smallest_perturbation_of_a_linear_model(attack, norm, dual):
    net, x = Linear(5), interior(12)
    y = predictions(net, x)
    exact = net.distance(x, y, dual)
    threat = Threat(norm, 0.9)
    found = attack(net, x, y, threat=threat, steps=50, stop_on_success=False)
    assert (predictions(net, found) != y).all()
    ratio = threat.distance(found, x) / exact
    assert (ratio >= 1 - 1e-6).all() and (ratio <= 1.05).all()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm, eps", [("inf", 0.02), ("2", 0.15)])
@pytest.mark.parametrize("stop", [True, False])
def test_a_result_does_not_depend_on_the_batch(attack, norm, eps, stop):
    net, x = small_net().double(), images(6).double()
    y = predictions(net, x)
    options = {"threat": Threat(norm, eps), "steps": 12, "restarts": 2, "stop_on_success": stop}
    together = attack(net, x, y, generator=ExampleGenerator(5, torch.arange(6)), **options)
    order = torch.tensor([3, 0, 1, 5, 2, 4])
    permuted = attack(net, x[order], y[order], generator=ExampleGenerator(5, order), **options)
    torch.testing.assert_close(permuted, together[order], atol=1e-7, rtol=0)
    for i in range(6):
        alone = attack(
            net, x[i : i + 1], y[i : i + 1], generator=ExampleGenerator(5, torch.tensor([i])), **options
        )
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-7, rtol=0)


def test_pairs_may_be_split_between_passes():
    net, x = small_net().double(), images(6).double()
    y = predictions(net, x)
    options = {"threat": Threat("inf", 0.02), "steps": 10}
    expected = fab_t(net, x, y, max_rows=128, **options)
    torch.testing.assert_close(fab_t(net, x, y, max_rows=1, **options), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("attack", ATTACKS)
def test_leaves_everything_as_found(attack):
    net, x = nn.Sequential(nn.BatchNorm2d(3), small_net()).train(), images(6)
    net[0].eval()
    net[1][0].weight.requires_grad_(False)
    y = predictions(net, x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [module.training for module in net.modules()] + [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    attack(net, x, y, threat=Threat("inf", 0.02), steps=4, restarts=2)
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [module.training for module in net.modules()] + [
        p.requires_grad for p in net.parameters()
    ]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_any_number_of_classes_one_channel_any_shape(attack, classes, norm):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(35, classes))
    x = torch.rand(5, 1, 5, 7)
    y = predictions(net, x)
    threat = Threat(norm, 0.4)
    found = attack(net, x, y, threat=threat, steps=8)
    assert found.isfinite().all() and found.amin() >= 0 and found.amax() <= 1
    assert (threat.distance(found, x) <= 0.4 + 1e-6).all()
    assert (predictions(net, found) == y).sum() < 5


def test_a_thousand_classes():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(35, 1000))
    x = torch.rand(3, 1, 5, 7)
    y = predictions(net, x)
    assert (predictions(net, fab_t(net, x, y, threat=Threat("inf", 0.4), steps=8)) != y).all()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_zero_radius_zero_gradient_wrong_labels_and_no_images(attack, norm):
    net, x = small_net(), images(5)
    y = predictions(net, x)
    assert torch.equal(attack(net, x, y, threat=Threat(norm, 0.0), steps=5), x)
    threat = Threat(norm, 0.1)
    assert torch.equal(attack(net, x, (y + 1) % 10, threat=threat, steps=5), x)
    assert attack(net, x[:0], y[:0], threat=threat, steps=5).shape == x[:0].shape
    masked = attack(lambda z: net((z > 0.5).float() + 0 * z), x, y, threat=threat, steps=5, restarts=2)
    assert masked.isfinite().all() and (threat.distance(masked, x) <= 0.1 + 1e-6).all()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        attack(net, x + 1, y, threat=threat, steps=1)
