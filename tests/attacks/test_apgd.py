"""APGD-CE, APGD-DLR and APGD-T: against the published code, a closed form, and the rules of the house."""

import logging
import math

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import nn

from advarch.attacks.apgd import apgd
from advarch.attacks.apgd_run import Settings, checkpoints, run_apgd, surface_start
from advarch.attacks.apgd_t import apgd_t
from advarch.attacks.dlr import dlr, targeted_dlr
from advarch.attacks.objectives import cross_entropy
from advarch.attacks.targets import available_targets, likeliest_targets, waves
from advarch.noise import ExampleGenerator
from advarch.threat import Threat

OBJECTIVES = {"ce": cross_entropy, "dlr": dlr}
BALLS = [("inf", "Linf", 0.012), ("2", "L2", 0.22)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small_net(classes=10, channels=3, seed=0):
    """A fixed random network whose logits are centred, so that every class occurs."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(classes),
    ).eval()
    x = torch.rand(24, channels, 12, 12)
    with torch.no_grad():
        net(x)
        net[-1].bias -= net(x).mean(0)
        return net, x, net(x).argmax(1)


def linear_net(classes=2, shape=(1, 4, 6), seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes)).double()
    x = 0.4 + 0.2 * torch.rand(10, *shape, dtype=torch.float64)
    return net, x, net(x).argmax(1)


def settings(eps, **kwargs):
    return {"steps": 30, "step_size": 2 * eps, **kwargs}


def plain_checkpoints(steps):
    """w_j = ceil(p_j N), straight from the paper."""
    before, p, found = 0.0, 0.22, []
    while p <= 1.0 + 1e-9:
        found.append(math.ceil(round(p * steps, 9)))
        before, p = p, p + max(p - before - 0.03, 0.06)
    return found


def test_checkpoints_are_those_measured_on_the_published_code():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99] == plain_checkpoints(100)
    assert checkpoints(20)[:4] == [4, 7, 9, 10] and checkpoints(20)[-1] == 20
    assert checkpoints(1) == [1] and checkpoints(0) == []


@pytest.mark.parametrize("norm, published, eps", BALLS)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_a_run_is_bit_equal_to_the_published_code(norm, published, eps, loss):
    net, x, y = small_net()
    reference = APGDAttack(
        net, n_iter=100, norm=published, eps=eps, seed=3, loss=loss, device="cpu", logger=logging.getLogger()
    )
    reference.init_hyperparam(x)
    torch.manual_seed(3)
    best, stands, best_gain, fooling = reference.attack_single_run(x, y)
    start = surface_start(x, Threat(norm, eps), torch.Generator().manual_seed(3))
    objective = OBJECTIVES[loss]
    published_run = Settings(Threat(norm, eps), 100, 2 * eps, 0.75, 0.75, 1, False)
    run = run_apgd(net, start, x, y, lambda logits, rows: objective(logits, y[rows]), published_run)
    assert torch.equal(run.fooled, ~stands.bool())
    assert torch.equal(run.best, best) and torch.equal(run.best_gain, best_gain)
    assert torch.equal(run.fooling, fooling.detach())
    found = apgd(
        net,
        x,
        y,
        threat=Threat(norm, eps),
        steps=100,
        step_size=2 * eps,
        objective=objective,
        stop_on_success=False,
        generator=torch.Generator().manual_seed(3),
    )
    torch.manual_seed(3)
    expected = reference.perturb(x, y)
    assert torch.equal(found[run.fooled], expected[run.fooled].detach())


@pytest.mark.parametrize("norm, published, eps", BALLS)
def test_targeted_runs_are_bit_equal_and_the_verdict_is_the_published_one(norm, published, eps):
    net, x, y = small_net()
    eps = eps / 4
    reference = APGDAttack_targeted(
        net, n_iter=100, norm=published, eps=eps, device="cpu", logger=logging.getLogger()
    )
    reference.init_hyperparam(x)
    target = likeliest_targets(net(x), 9)[:, 3]
    assert torch.equal(target, net(x).sort(dim=1)[1][:, -5])
    reference.y_target = target
    torch.manual_seed(3)
    best, stands, _, _ = reference.attack_single_run(x, y)
    start = surface_start(x, Threat(norm, eps), torch.Generator().manual_seed(3))
    published_run = Settings(Threat(norm, eps), 100, 2 * eps, 0.75, 0.75, 1, False)
    run = run_apgd(net, start, x, y, lambda z, rows: targeted_dlr(z, y[rows], target[rows]), published_run)
    assert torch.equal(run.best, best) and torch.equal(run.fooled, ~stands.bool())
    expected = net(reference.perturb(x, y)).argmax(1) == y
    assert 0 < expected.sum() < len(x)
    for stop in (True, False):
        found = apgd_t(
            net, x, y, threat=Threat(norm, eps), steps=100, step_size=2 * eps, stop_on_success=stop
        )
        assert torch.equal(net(found).argmax(1) == y, expected)


@pytest.mark.parametrize("attack", [apgd, apgd_t])
@pytest.mark.parametrize("norm, eps", [("inf", 0.05), ("2", 0.2)])
def test_reaches_the_optimum_on_a_linear_model(attack, norm, eps):
    net, x, y = linear_net()
    threat = Threat(norm, eps)
    slope = (net[1].weight[1 - y] - net[1].weight[y]).detach()
    rise = eps * (slope.abs().sum(1) if norm == "inf" else slope.norm(dim=1))
    lead = net(x).gather(1, 1 - y[:, None]).squeeze(1) - net(x).gather(1, y[:, None]).squeeze(1)
    # Shift the boundary so that no image falls: what comes back is then the point of largest objective.
    stands = (lead + rise) < 0
    assert stands.any() and not stands.all()
    found = attack(net, x, y, threat=threat, **settings(eps, steps=60))
    after = net(found).gather(1, 1 - y[:, None]).squeeze(1) - net(found).gather(1, y[:, None]).squeeze(1)
    assert torch.equal(after > 0, ~stands)
    torch.testing.assert_close(after[stands], (lead + rise)[stands], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("attack", [apgd, apgd_t])
@pytest.mark.parametrize("norm, eps", [("inf", 0.02), ("2", 0.3)])
@pytest.mark.parametrize("stop", [True, False])
def test_a_result_does_not_depend_on_the_batch(attack, norm, eps, stop):
    net, x, y = small_net()
    net, x, y = net.double(), x[:7].double(), y[:7]
    options = {"threat": Threat(norm, eps / 4), "stop_on_success": stop, **settings(eps, steps=12)}
    generator = ExampleGenerator(5, torch.arange(7))
    together = attack(net, x, y, generator=generator, **options)
    again = attack(net, x, y, generator=ExampleGenerator(5, torch.arange(7)), **options)
    assert torch.equal(together, again)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    permuted = attack(net, x[order], y[order], generator=ExampleGenerator(5, order), **options)
    torch.testing.assert_close(permuted, together[order], atol=1e-9, rtol=0)
    for i in range(7):
        alone = attack(
            net, x[i : i + 1], y[i : i + 1], generator=ExampleGenerator(5, torch.tensor([i])), **options
        )
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("attack", [apgd, apgd_t])
def test_leaves_everything_as_found(attack):
    net, x, y = small_net()
    net = nn.Sequential(nn.BatchNorm2d(3), net).train()
    net[0].eval()
    next(net[1].parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    flags = [(m.training) for m in net.modules()] + [p.requires_grad for p in net.parameters()]
    state = torch.get_rng_state()
    attack(net, x, y, threat=Threat("inf", 0.01), **settings(0.01, steps=5))
    assert torch.equal(state, torch.get_rng_state())
    assert flags == [(m.training) for m in net.modules()] + [p.requires_grad for p in net.parameters()]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize("attack", [apgd, apgd_t])
@pytest.mark.parametrize("classes", [2, 3, 4, 10, 100, 1000])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_any_number_of_classes_one_channel_any_shape(attack, classes, norm):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(5 * 7, classes))
    x = torch.rand(6, 1, 5, 7)
    y = net(x).argmax(1)
    threat = Threat(norm, 0.3)
    objective = {} if attack is apgd_t else {"objective": dlr}
    found = attack(net, x, y, threat=threat, **settings(0.3, steps=8, **objective))
    assert found.isfinite().all() and found.amin() >= 0 and found.amax() <= 1
    assert (threat.distance(found, x) <= 0.3 + 1e-6).all()
    assert (net(found).argmax(1) == y).sum() < 6


def test_targets_are_cut_to_the_classes_there_are():
    assert [available_targets(classes, 9) for classes in (2, 3, 10, 11, 1000)] == [1, 2, 9, 9, 9]
    with pytest.raises(ValueError, match="at least 2 classes"):
        available_targets(1, 9)
    logits = torch.tensor([[0.1, 0.5, 0.3], [3.0, 1.0, 2.0]])
    assert likeliest_targets(logits, 9).tolist() == [[2, 0], [2, 1]]
    assert [list(wave) for wave in waves(4)] == [[0], [1, 2, 3]] and [list(wave) for wave in waves(1)] == [
        [0]
    ]


def test_dlr_equals_its_formula_and_falls_back_where_terms_are_missing():
    torch.manual_seed(0)
    logits, y, t = torch.randn(50, 6, dtype=torch.float64), torch.randint(6, (50,)), torch.randint(6, (50,))
    for z, label, target, a, b in zip(logits, y, t, dlr(logits, y), targeted_dlr(logits, y, t), strict=True):
        order = sorted(z.tolist(), reverse=True)
        other = max(v for j, v in enumerate(z.tolist()) if j != label)
        assert math.isclose(a, -(z[label] - other) / (order[0] - order[2] + 1e-12))
        assert math.isclose(
            b, -(z[label] - z[target]) / (order[0] - (order[2] + order[3]) / 2 + 1e-12), abs_tol=1e-12
        )
    three, two = torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[1.0, 3.0]])
    one, zero = torch.tensor([1]), torch.tensor([0])
    assert dlr(three, one).item() == pytest.approx(-0.5) and dlr(two, one).item() == pytest.approx(-2.0)
    assert targeted_dlr(three, one, zero).item() == pytest.approx(-1.0)
    assert targeted_dlr(two, one, zero).item() == pytest.approx(-2.0)


@pytest.mark.parametrize("attack", [apgd, apgd_t])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_zero_radius_zero_gradient_and_no_images(attack, norm):
    net, x, y = small_net()
    assert torch.equal(attack(net, x, y, threat=Threat(norm, 0.0), steps=5, step_size=0.0), x)
    options = {"threat": Threat(norm, 0.1), **settings(0.1, steps=5)}
    assert attack(net, x[:0], y[:0], **options).shape == x[:0].shape
    masked = attack(lambda z: net((z > 0.5).float() + 0 * z), x, y, **options)
    assert masked.isfinite().all() and (Threat(norm, 0.1).distance(masked, x) <= 0.1 + 1e-6).all()


def test_misclassified_images_come_back_as_they_are():
    net, x, y = small_net()
    wrong = (y + 1) % 10
    for attack in (apgd, apgd_t):
        assert torch.equal(attack(net, x, wrong, threat=Threat("inf", 0.1), **settings(0.1)), x)


def test_restarts_and_eot_are_at_least_as_strong():
    net, x, y = small_net()
    threat = Threat("inf", 0.003)
    once = apgd(net, x, y, threat=threat, **settings(0.003, steps=4))
    often = apgd(net, x, y, threat=threat, **settings(0.003, steps=4, restarts=4))
    averaged = apgd(net, x, y, threat=threat, **settings(0.003, steps=4, eot_samples=3))
    fell = net(once).argmax(1) != y
    assert (net(often).argmax(1) != y)[fell].all()
    assert torch.equal(net(averaged).argmax(1) != y, fell)


def test_refuses_images_outside_the_box():
    net, x, y = small_net()
    for attack in (apgd, apgd_t):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            attack(net, x * 2, y, threat=Threat("inf", 0.1), **settings(0.1))
