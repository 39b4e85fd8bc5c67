"""RACL: each update against the printed equations by autograd, the bound, the ablations, resuming to the bit."""

import copy
import math
from functools import partial

import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.nn.functional import cross_entropy

from advarch.errors import InputError
from advarch.search.architecture import LogNormalWeights, Softmax
from advarch.search.racl import Racl
from tests.search.small import SPACE, at, batches, optimizers, supernet

LAWS = ("mu_alpha", "mu_beta", "log_sigma_alpha", "log_sigma_beta")


def racl(seed: int = 0, spread: bool = True, **options) -> Racl:
    net = supernet(partial(LogNormalWeights, spread=spread), seed)
    return Racl(net, **{"warmup": 0, "log_bound": 2.0} | options)


def frozen_optimizers(method: Racl) -> dict[str, torch.optim.Optimizer]:
    """Plain gradient descent of rate 1 on the laws: what moves is the gradient; the weights stay."""
    groups = method.parameters()
    return {
        "weights": torch.optim.SGD(groups["weights"], lr=0.0),
        "arch": torch.optim.SGD(groups["arch"], lr=1.0),
    }


def laws(method: Racl) -> dict[str, Tensor]:
    return {name: getattr(method.arch, name).detach().clone() for name in LAWS}


def printed_objective(net, batch, constants: Tensor, theta: float, method: Racl) -> tuple[Tensor, Tensor]:
    """Eq. 17 at the noise the network has, from Eqs. 10 to 12 and 16, with one node a cell."""
    arch = net.arch
    x = batch.x.clone().requires_grad_()
    ce = cross_entropy(net(x), batch.y)
    (slope,) = torch.autograd.grad(len(x) * ce, x, create_graph=True)
    loss = ce + slope.flatten(1).norm(dim=1).mean()
    mu, v = 0.0, 0.0
    for place, kind in enumerate(net.kinds):
        means, variances = [], []
        for e in range(2):
            some = constants[place, e] > 0
            m = arch.mu_alpha[kind, e][some] + constants[place, e][some].log()
            s = (2 * arch.log_sigma_alpha[kind, e][some]).exp()
            edge = (((2 * m + s).exp() * (s.exp() - 1)).sum() / (m + s / 2).exp().sum() ** 2 + 1).log()
            means.append((m + s / 2).exp().sum().log() - edge / 2 + arch.mu_beta[kind, e])
            variances.append(edge + (2 * arch.log_sigma_beta[kind, e]).exp())
        m, s = torch.stack(means), torch.stack(variances)
        node = (((2 * m + s).exp() * (s.exp() - 1)).sum() / (m + s / 2).exp().sum() ** 2 + 1).log()
        mu, v = mu + (m + s / 2).exp().sum().log() - node / 2, v + node
    c = mu + norm.ppf(method.eta) * v - method.log_bound
    return loss + theta * c + method.rho / 2 * c**2, c


@pytest.mark.parametrize("blocks", ["together", "in_turn"])
def test_laws_and_multiplier_move_as_printed(blocks: str) -> None:
    method, given = racl(rho=0.3, blocks=blocks, log_bound=-3.0), batches()
    method.multiplier = torch.tensor(0.4)
    before = laws(method)
    twin = copy.deepcopy(method.supernet)
    logs = method.step(given, frozen_optimizers(method), at(0))
    twin(given.weights.x)
    twin.arch.draw(at(0).generator("architecture"))
    constants = method.constants().view(3, 2, 4)
    leaves = [getattr(twin.arch, name) for name in LAWS]
    total, c = printed_objective(twin, given.arch, constants, 0.4, method)
    gradients = torch.autograd.grad(total, leaves)
    if blocks == "in_turn":
        for leaf, gradient in zip(leaves[:2], gradients[:2], strict=True):
            leaf.data -= gradient
        total, _ = printed_objective(twin, given.arch, constants, 0.4, method)
        gradients = [*gradients[:2], *torch.autograd.grad(total, leaves[2:])]
        for leaf, gradient in zip(leaves[2:], gradients[2:], strict=True):
            leaf.data -= gradient
        _, c = printed_objective(twin, given.arch, constants, 0.4, method)
    for name, gradient in zip(LAWS, gradients, strict=True):
        moved = before[name] - laws(method)[name]
        torch.testing.assert_close(moved, gradient, atol=2e-4 * float(gradient.abs().max()), rtol=1e-3)
    torch.testing.assert_close(logs["gap"], c.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.multiplier, 0.4 + 0.3 * c.detach(), rtol=1e-4, atol=1e-4)


def test_the_weights_follow_the_loss_and_the_gradient_norm_of_the_sample() -> None:
    method, given = racl(warmup=9), batches()
    twin = copy.deepcopy(method.supernet)
    twin.arch.draw(at(0).generator("architecture"))
    before = laws(method)
    method.step(given, optimizers(method), at(0))
    x = given.weights.x.clone().requires_grad_()
    ce = cross_entropy(twin(x), given.weights.y)
    (slope,) = torch.autograd.grad(len(x) * ce, x, create_graph=True)
    weight = twin.head.weight
    (gradient,) = torch.autograd.grad(ce + slope.flatten(1).norm(dim=1).mean(), weight)
    moved = weight.detach() - 0.05 * (gradient + 3e-4 * weight.detach())
    torch.testing.assert_close(method.supernet.head.weight.detach(), moved)
    assert all(torch.equal(before[name], after) for name, after in laws(method).items())
    assert float(method.multiplier) == 0


def test_the_bound_is_set_once_a_tenth_below_each_node_s_constant_where_the_warm_up_ends() -> None:
    method = racl(warmup=1, log_bound=None)
    steps = frozen_optimizers(method)
    method.step(batches(), steps, at(0))
    assert method.log_bound is None
    start, _ = method.gap(method.constants().view(3, 2, 4))
    logs = method.step(batches(), steps, at(2))
    assert method.log_bound == pytest.approx(float(start.detach()) + 3 * math.log(0.9), abs=1e-4)
    assert float(logs["gap"]) == pytest.approx(-3 * math.log(0.9), abs=1e-4)
    kept = method.log_bound
    method.step(batches(), steps, at(3))
    assert method.log_bound == kept


def test_an_active_bound_makes_operations_of_large_constant_lighter() -> None:
    method = racl(rho=1.0, log_bound=-30.0, gradient_norm=0.0)
    constants = torch.ones(3, 2, 4)
    constants[..., 3], constants[..., 0] = 5.0, 0.0
    method.constants = lambda iterations: constants.flatten()
    before = method.arch().operations.detach().clone()
    optimizer = optimizers(method, lr=0.0, arch_lr=0.02)
    optimizer["arch"] = torch.optim.SGD(method.parameters()["arch"], lr=1e-3)
    for step in range(3):
        method.step(batches(), optimizer, at(step))
    method.arch.still()
    share = method.arch().operations / before
    assert (share[..., 3] < share[..., 1]).all() and (share[..., 1] < share[..., 0]).all()


def test_without_confidence_the_constraint_is_equation_10() -> None:
    method = racl(spread=False, log_constant=0.5)
    constants = method.constants().view(3, 2, 4)
    gap, law = method.gap(constants)
    mixing = method.arch()
    weights = mixing.inputs[method.supernet.kinds] * (
        mixing.operations[method.supernet.kinds] * constants
    ).sum(-1)
    torch.testing.assert_close(gap, weights.sum(-1).log().sum() + 0.5 - 2.0)
    assert law.variance == 0
    assert [len(group["params"]) for group in method.parameters()["arch"]] == [2]
    method.step(batches(), optimizers(method), at(0))
    with pytest.raises(InputError, match="spread: expected variance where the weights have none"):
        Racl(method.supernet, spread="deviation")


def test_projected_multipliers_never_are_negative_and_take_the_hinge() -> None:
    for dual_step, sign in (("projected", 0), ("printed", -1)):
        method = racl(dual_step=dual_step, log_bound=50.0)
        method.step(batches(), optimizers(method), at(0))
        assert torch.sign(method.multiplier) == sign


def test_derived_cells_repeat_and_the_median_needs_no_luck() -> None:
    method = racl()
    with torch.no_grad():
        method.arch.mu_alpha[..., 3] += 0.01
        method.arch.log_sigma_alpha.fill_(0.0)
    assert method.derive(at(3)) == method.derive(at(3)) and SPACE.contains(method.derive(at(3)))
    assert len({method.derive(at(step)).digest for step in range(8)}) > 1
    method.derivation = "median"
    ops = {edge.op for cell in method.derive(at(0)).cells for _, edge in cell.edges}
    assert ops == {"dil_conv_3x3"}


def test_sigma_has_no_weight_decay_and_every_parameter_has_an_optimizer() -> None:
    method = racl()
    steps = optimizers(method)
    assert [group["weight_decay"] for group in steps["arch"].param_groups] == [1e-3, 0.0]
    count = sum(len(group["params"]) for step in steps.values() for group in step.param_groups)
    assert count == len(list(method.supernet.parameters()))


def test_a_search_that_was_saved_goes_on_to_the_bit() -> None:
    options = {"warmup": 0.5, "log_bound": None}
    whole = racl(**options)
    steps = optimizers(whole)
    for step in range(3):
        whole.step(batches(step), steps, at(step))
        if step == 1:
            saved = copy.deepcopy(
                (
                    whole.supernet.state_dict(),
                    whole.state_dict(),
                    {n: s.state_dict() for n, s in steps.items()},
                )
            )
    again = racl(seed=1, **options)
    steps = optimizers(again)
    again.supernet.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for name, optimizer in steps.items():
        optimizer.load_state_dict(saved[2][name])
    again.step(batches(2), steps, at(2))
    one, two = whole.supernet.state_dict(), again.supernet.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(whole.multiplier, again.multiplier) and whole.log_bound == again.log_bound


def test_another_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="arch: expected LogNormalWeights for RACL, came Softmax"):
        Racl(supernet(Softmax))
