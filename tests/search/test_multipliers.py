"""Multipliers on convex problems whose optimum and multiplier are known."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from advarch.search.multipliers import ascend, augmented

RHO, RATE = 0.05, 0.2


def solved(bound: float, penalty: str, dual_step: str, steps: int = 200) -> tuple[Tensor, Tensor, Tensor]:
    """min (m - 2)^2 + (s - 1)^2 with c = m + 2s - bound, by the papers' steps in both variables and the multiplier."""
    m, s = torch.zeros(2, dtype=torch.float64)
    theta = torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        m, s = m.detach().requires_grad_(), s.detach().requires_grad_()
        gap = m + 2 * s - bound
        loss = augmented((m - 2) ** 2 + (s - 1) ** 2, gap, theta, rho=RHO, penalty=penalty)
        grad_m, grad_s = torch.autograd.grad(loss, (m, s))
        theta = ascend(theta, gap, rho=RHO, dual_step=dual_step)
        m, s = m - RATE * grad_m, s - RATE * grad_s
    return m.detach(), s.detach(), theta


def known(bound: float) -> tuple[float, float, float]:
    """On c = 0: 2(m - 2) + theta = 0, 2(s - 1) + 2 theta = 0, so theta = 2 (4 - bound) / 5."""
    theta = 2 * (4 - bound) / 5
    return 2 - theta / 2, 1 - theta, theta


@pytest.mark.parametrize("dual_step", ["printed", "projected"])
@pytest.mark.parametrize("penalty", ["square", "hinge"])
def test_an_active_constraint_has_the_multiplier_of_its_optimality_conditions(penalty, dual_step) -> None:
    found = solved(1.5, penalty, dual_step)
    assert [float(v) for v in found] == pytest.approx(known(1.5), abs=1e-6)


def test_an_inactive_constraint_is_left_alone_by_the_projected_form_only() -> None:
    m, s, theta = solved(6.0, "hinge", "projected")
    assert (float(m), float(s), float(theta)) == pytest.approx((2, 1, 0), abs=1e-6)
    # As printed the multiplier is negative in the end and the border is sought, at a worse objective.
    for penalty in ("square", "hinge"):
        m, s, theta = solved(6.0, penalty, "printed")
        assert theta < 0
        assert (float(m), float(s), float(theta)) == pytest.approx(known(6.0), abs=1e-6)


def test_an_infeasible_constraint_drives_its_multiplier_up_without_end_and_its_violation_to_the_least() -> (
    None
):
    x, theta, seen = torch.tensor(3.0).double(), torch.tensor(0.0).double(), []
    for step in range(400):
        x = x.detach().requires_grad_()
        gap = x**2 + 1
        loss = augmented((x - 3) ** 2, gap, theta, rho=0.1, penalty="hinge")
        (gradient,) = torch.autograd.grad(loss, x)
        theta = ascend(theta, gap, rho=0.1, dual_step="projected")
        x = x - 0.5 / (2 + 2 * theta + 1) * gradient
        if step % 100 == 99:
            seen.append(float(theta))
    assert float(gap.detach()) == pytest.approx(1.0, abs=1e-2)
    rises = [after - before for before, after in pairwise(seen)]
    assert rises == pytest.approx([100 * 0.1] * 3, rel=0.05)


def test_values_are_the_printed_ones() -> None:
    loss, theta = torch.tensor(2.0), torch.tensor(0.5, requires_grad=True)
    for gap, square, hinge in ((3.0, 2 + 1.5 + 0.9, 2 + 1.5 + 0.9), (-3.0, 2 - 1.5 + 0.9, 2 - 1.5)):
        c = torch.tensor(gap)
        assert float(augmented(loss, c, theta, rho=0.2, penalty="square")) == pytest.approx(square)
        assert float(augmented(loss, c, theta, rho=0.2, penalty="hinge")) == pytest.approx(hinge)
    moved = ascend(theta, torch.tensor(-3.0), rho=0.2, dual_step="printed")
    assert float(moved) == pytest.approx(-0.1) and not moved.requires_grad
    assert ascend(theta, torch.tensor(-3.0), rho=0.2, dual_step="projected") == 0
