"""NADAR: each update against the printed equations by autograd, the multiply-adds, FreeAT, the ablations, resuming to the bit."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from advarch.backbones.dilated import dilated
from advarch.defenses.free import Free
from advarch.errors import InputError
from advarch.genotype.cell import Cell, Edge, Genotype
from advarch.genotype.stored import to_plain
from advarch.metrics.cost import macs
from advarch.search.architecture import Softmax
from advarch.search.nadar import Nadar
from advarch.threat import Threat
from tests.search.small import SHARED, Backbone, at, batches, dilated_supernet, optimizers

BALL, STEP = Threat("inf", 0.1), 0.06


def nadar(seed: int = 0, net=None, **options) -> Nadar:
    settings = {"threat": BALL, "step_size": STEP, "warmup": 0, "replays": 1}
    return Nadar(dilated_supernet(seed=seed) if net is None else net, **settings | options)


def descent(method: Nadar, rate: float = 0.1) -> dict[str, torch.optim.Optimizer]:
    """Plain gradient descent: what moves is the gradient, `rate` times for the weights."""
    groups = method.parameters()
    rates = {"weights": rate, "arch": 1.0}
    return {name: torch.optim.SGD(groups[name], lr=lr) for name, lr in rates.items()}


def values(parameters) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


class Printed:
    """The equations written plainly: two thetas, two perturbations, gradient descent."""

    def __init__(self, method: Nadar, rho: float, tau: float) -> None:
        self.net, self.rho, self.tau = copy.deepcopy(method.supernet), rho, tau
        self.theta = {half: float(method.multipliers[half]) for half in ("arch", "weights")}
        self.delta = dict.fromkeys(self.theta, torch.zeros(6, 1, 6, 6))
        self.cost = copy.copy(method)
        self.cost.supernet = self.net

    def level(self, half: str, batch, leaves: list[Tensor], rate: float) -> None:
        """Eqs. 15 to 18 or 19 to 22, and the perturbation's step (FreeAT)."""
        gap = cross_entropy(self.net(batch.x), batch.y)
        gap = gap - cross_entropy(self.net.base(batch.x), batch.y).detach()
        delta = self.delta[half].clone().requires_grad_()
        loss = cross_entropy(self.net((batch.x + delta).clamp(0, 1)), batch.y)
        if half == "arch":
            log = self.cost.cost(batch.x).log()
            self.start = getattr(self, "start", log.detach())
            loss = (log / self.start) ** self.tau * loss
        loss = loss + self.theta[half] * gap + self.rho / 2 * max(0, gap) ** 2
        *gradients, slope = torch.autograd.grad(loss, [*leaves, delta])
        self.delta[half] = (self.delta[half] + STEP * slope.sign()).clamp(-0.1, 0.1)
        self.theta[half] += self.rho * float(gap.detach())
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.data -= rate * gradient

    def backbone(self, batch, rate: float) -> None:
        """Eq. 6."""
        leaves = list(self.net.base.parameters())
        gradients = torch.autograd.grad(cross_entropy(self.net.base(batch.x), batch.y), leaves)
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.data -= rate * gradient


def test_both_levels_move_as_printed() -> None:
    method = nadar(rho=0.7, tau=1.5, dual_step="printed")
    method.multipliers = {"arch": torch.tensor(0.4), "weights": torch.tensor(-0.2)}
    printed, given = Printed(method, 0.7, 1.5), batches()
    for step in range(2):
        method.step(given, descent(method), at(step))
        printed.level("arch", given.arch, list(printed.net.arch.parameters()), 1.0)
        printed.backbone(given.weights, 0.1)
        printed.level("weights", given.weights, list(printed.net.hybrid.dilation.parameters()), 0.1)
        pairs = zip(method.supernet.named_parameters(), printed.net.parameters(), strict=True)
        for (name, own), expected in pairs:
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5, msg=name)
        for half in ("arch", "weights"):
            assert float(method.multipliers[half]) == pytest.approx(printed.theta[half], abs=1e-5)
            torch.testing.assert_close(method.free[half]._delta, printed.delta[half])


@pytest.mark.parametrize("half", ["arch", "weights"])
@pytest.mark.parametrize("gap", [-3.0, 3.0])
def test_the_whole_objective_has_the_gradient_of_finite_differences(half: str, gap: float) -> None:
    net = dilated_supernet().double()
    method = nadar(net=net, rho=0.8)
    method.multipliers[half] = torch.tensor(0.3, dtype=torch.float64)
    batch = getattr(batches(dtype=torch.float64), half)
    method.step(batches(dtype=torch.float64), descent(method), at(0))
    # A classifier that is better or worse without the dilation makes the constraint active or not.
    with torch.no_grad(), net.undilated():
        short = gap - method.gap(batch, at(0))
    plain = method.gap
    method.gap = lambda batch, progress: plain(batch, progress) + float(short)
    leaves = list(net.arch.parameters()) if half == "arch" else list(net.hybrid.dilation.parameters())
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in leaves]
    gradients = torch.autograd.grad(method.objective(batch, half, at(0))[0], leaves)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))

    def displaced(length: float) -> float:
        with torch.no_grad():
            for leaf, way in zip(leaves, direction, strict=True):
                leaf += length * way
        value = float(method.objective(batch, half, at(0))[0].detach())
        with torch.no_grad():
            for leaf, way in zip(leaves, direction, strict=True):
                leaf -= length * way
        return value

    assert (displaced(1e-6) - displaced(-1e-6)) / 2e-6 == pytest.approx(slope, rel=1e-5)


def test_expected_multiply_adds_are_the_mean_over_all_hybrids_as_they_are_built() -> None:
    space = replace(SHARED, nodes=1)
    net = dilated_supernet(space=space)
    method, x, mixing = nadar(net=net), batches().arch.x, net.arch()

    def built(op: str, source: int) -> int:
        cell = to_plain(Genotype("one", "shared", (Cell(((Edge(op, source),),), (2,)),)))
        with torch.device("meta"):
            network = dilated(classes=2, in_channels=1, base=Backbone, genotype=cell, cells=2)
        return macs(network, (1, 6, 6))

    # What all have in common: the backbone, and 1x1 convolutions at the inputs. Zero can't be built and costs nothing.
    rest = built("avg_pool_3x3", 0)
    mean = sum(
        float(mixing.inputs[0, edge] * mixing.operations[0, edge, number]) * (built(op, source) - rest)
        for edge, (source, _) in enumerate(space.edges)
        for number, op in enumerate(space.operations)
        if op != "none"
    )
    assert mean > 0 and float(method.cost(x)) == pytest.approx(mean, rel=1e-5)


def test_the_factor_starts_at_one_and_makes_costly_operations_lighter() -> None:
    method = nadar(tau=2.0, objectives="separate")
    x, arch = batches().arch.x, method.supernet.arch
    assert float(method.factor(x)) == pytest.approx(1) and method.gamma is not None
    gradient = torch.autograd.grad(method.factor(x), arch.alpha)[0]
    costly = SHARED.operations.index("dil_conv_3x3")
    assert (gradient[..., costly] > 0).all()
    assert float(nadar(tau=0.0).factor(x)) == 1 and float(nadar(tau=0.0, gamma=0.5).factor(x)) == 0.5
    given = nadar(tau=2.0, gamma=3.0)
    assert float(given.factor(x)) == pytest.approx(3 * float(given.cost(x).log()) ** 2)


@pytest.mark.parametrize(
    ("dual_step", "gap", "expected"),
    [("projected", -0.5, 0.0), ("printed", -0.5, -0.15), ("projected", 0.5, 0.15), ("printed", 0.5, 0.15)],
)
def test_a_kept_constraint_moves_the_multiplier_as_printed_or_not(
    dual_step: str, gap: float, expected: float
) -> None:
    method = nadar(rho=0.1, dual_step=dual_step, replays=3)
    method.gap = lambda batch, progress: torch.tensor(gap)
    method.step(batches(), descent(method), at(0))
    assert float(method.multipliers["arch"]) == pytest.approx(expected)
    assert float(method.multipliers["weights"]) == pytest.approx(expected)


def test_a_dilation_of_zeros_keeps_the_constraint_exactly() -> None:
    method = nadar(net=dilated_supernet(affine=True))
    with torch.no_grad():
        for name, parameter in method.supernet.hybrid.dilation.named_parameters():
            if "norm" in name or name.endswith((".bias", ".weight")):
                parameter.zero_()
        method.supernet.arch.alpha[..., 1:3] = -200.0
    assert float(method.gap(batches().arch, at(0))) == pytest.approx(0, abs=1e-6)


def test_with_one_objective_it_is_free_adversarial_training_of_the_whole() -> None:
    method = nadar(objectives="joint", warmup=9)
    twin = copy.deepcopy(method.supernet)
    defense, ours = Free(BALL, STEP, replays=1), descent(method)
    optimizer = torch.optim.SGD(twin.weights(), lr=0.1)
    for step in range(3):
        given = batches(step)
        logs = method.step(given, ours, at(step))
        optimizer.zero_grad()
        output = defense(twin, given.weights.x, given.weights.y)
        right = (output.logits.argmax(1) == given.weights.y).double().mean().item()
        assert logs["train_accuracy"].item() == pytest.approx(right)
        output.total.backward()
        defense.after_backward(twin)
        optimizer.step()
        assert set(logs) == {"ce_adv", "train_accuracy"}
    for own, other in zip(method.supernet.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(own, other)


def test_replays_are_steps_on_the_same_batches() -> None:
    one, two = nadar(replays=2), nadar(replays=1)
    slow, fast = optimizers(one), optimizers(two)
    one.step(batches(), slow, at(0))
    for _ in range(2):
        two.step(batches(), fast, at(0))
    assert _same(one, two)


def test_a_frozen_backbone_stays_and_without_constraint_the_multipliers_do() -> None:
    method = nadar(backbone="pretrained_frozen", objectives="separate", rho=1.0)
    base, dilation = method.supernet.base, method.supernet.hybrid.dilation
    before, cells = copy.deepcopy(base.state_dict()), values(dilation.parameters())
    logs = method.step(batches(), optimizers(method), at(0))
    assert all(torch.equal(before[name], after) for name, after in base.state_dict().items())
    assert not all(torch.equal(a, b) for a, b in zip(cells, dilation.parameters(), strict=True))
    assert set(logs) == {"ce_adv", "train_accuracy", "ce_adv_arch", "factor_arch"}
    assert not any(method.multipliers.values())


def test_halves_of_a_batch_give_the_gradient_of_the_whole() -> None:
    net = dilated_supernet().eval()
    method, batch, arch = nadar(net=net, rho=5.0), batches().arch, list(net.arch.parameters())
    gap = method.gap(batch, at(0)).detach()
    expected = torch.autograd.grad(method.objective(batch, "arch", at(0))[0], arch)
    parts = []
    for rank in range(2):
        part = type(batch)(*(tensor[rank::2] for tensor in batch))
        together = replace(at(0), mean=lambda value: gap)
        parts.append(torch.autograd.grad(method.objective(part, "arch", together)[0], arch))
    for one, two, both in zip(*parts, expected, strict=True):
        torch.testing.assert_close((one + two) / 2, both)


def test_a_search_that_was_saved_goes_on_to_the_bit() -> None:
    whole = nadar(warmup=0.5, rho=0.5)
    steps = optimizers(whole)
    for step in range(3):
        whole.step(batches(step), steps, at(step))
        if step == 1:
            whole.gather(lambda part: part[None])
            parts = [whole.supernet.state_dict(), whole.state_dict()]
            saved = copy.deepcopy([*parts, {name: own.state_dict() for name, own in steps.items()}])
    again = nadar(seed=1, warmup=0.5, rho=0.5)
    again.start(images=12, device=torch.device("cpu"), rank=0, world_size=1)
    steps = optimizers(again)
    again.supernet.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for name, optimizer in steps.items():
        optimizer.load_state_dict(saved[2][name])
    again.step(batches(2), steps, at(2))
    assert _same(whole, again)


def _same(one: Nadar, two: Nadar) -> bool:
    for method in (one, two):
        method.gather(lambda part: part[None])
    a, b = one.state_dict(), two.state_dict()
    pairs = [(a["multipliers"][half], b["multipliers"][half]) for half in ("arch", "weights")]
    pairs += [(a["free"][half]["delta"], b["free"][half]["delta"]) for half in ("arch", "weights")]
    pairs += zip(one.supernet.state_dict().values(), two.supernet.state_dict().values(), strict=True)
    return a["gamma"] == b["gamma"] and all(torch.equal(x, y) for x, y in pairs)


def test_the_perturbations_survive_a_change_of_the_number_of_processes() -> None:
    method = nadar()
    method.step(batches(), optimizers(method), at(0))
    method.gather(lambda part: part[None])
    whole = method.state_dict()["free"]["weights"]["delta"]
    assert whole.abs().max() > 0
    other = nadar()
    other.start(images=12, device=torch.device("cpu"), rank=1, world_size=2)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert torch.equal(other.free["weights"]._delta, whole[1::2])


def test_what_can_t_be_searched_is_explained() -> None:
    with pytest.raises(InputError, match="arch: expected Softmax with weighed edges for NADAR"):
        nadar(net=dilated_supernet(Softmax))
    with pytest.raises(InputError, match="with a frozen backbone, came joint"):
        nadar(objectives="joint", backbone="pretrained_frozen")
    space = type(SHARED)(("none", "skip_connect"), nodes=1, layout="shared")
    net = dilated_supernet(partial(Softmax, edges=True), space=space)
    with pytest.raises(InputError, match="tau: expected 0 where no operation has multiply-adds, came 1"):
        nadar(net=net)
    assert isinstance(nadar(net=net, tau=0.0).supernet, nn.Module)
