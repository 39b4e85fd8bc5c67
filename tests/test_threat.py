"""The ball and the box: projections, directions, starts and distances against closed forms."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import lsq_linear
from torch import Tensor, nn

from advarch.noise import ExampleGenerator
from advarch.threat import (
    Threat,
    check_images,
    gaussian_start,
    input_gradient,
    uniform_start,
)

FEW = settings(max_examples=60, deadline=None)

radii = st.sampled_from([0.0, 1e-6, 2 / 255, 8 / 255, 0.3, 0.99])
norms = st.sampled_from(["inf", 2])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """(x_adv, x) in double precision: x in the box, now and then on its faces, x_adv anywhere."""
    seed, spread = draw(st.integers(0, 2**31)), draw(st.sampled_from([1e-9, 0.01, 0.5, 100.0]))
    generator = torch.Generator().manual_seed(seed)
    x = (1.2 * torch.rand(3, 2, 3, 4, generator=generator, dtype=torch.float64) - 0.1).clamp(0, 1)
    return x + spread * torch.randn(x.shape, generator=generator, dtype=torch.float64), x


def rowwise(x: Tensor) -> np.ndarray:
    return x.flatten(1).numpy()


@given(pairs(), norms, radii)
@FEW
def test_a_projected_point_lies_in_ball_and_box(pair, norm, eps: float) -> None:
    x_adv, x = pair
    threat = Threat(norm, eps)
    found = threat.project(x_adv, x)
    assert found.min() >= 0 and found.max() <= 1
    assert (threat.distance(found, x) <= eps + 1e-12).all()


@given(pairs(), norms, radii)
@FEW
def test_projecting_twice_is_projecting_once(pair, norm, eps: float) -> None:
    x_adv, x = pair
    once = Threat(norm, eps).project(x_adv, x)
    torch.testing.assert_close(Threat(norm, eps).project(once, x), once, rtol=0, atol=1e-14)


@given(pairs(), norms)
@FEW
def test_a_point_of_ball_and_box_stays_where_it_is(pair, norm) -> None:
    _, x = pair
    shift = 0.3 / math.sqrt(x[0].numel())
    inside = (x + shift * torch.cos(torch.arange(x.numel(), dtype=torch.float64)).view(x.shape)).clamp(0, 1)
    torch.testing.assert_close(Threat(norm, 0.3).project(inside, x), inside, rtol=0, atol=1e-15)


@given(pairs(), st.sampled_from([1e-3, 8 / 255, 0.3]))
@settings(max_examples=25, deadline=None)
def test_the_linf_projection_is_the_nearest_point_that_a_solver_finds(pair, eps: float) -> None:
    x_adv, x = pair
    found = rowwise(Threat("inf", eps).project(x_adv, x))
    for row, target, centre in zip(found, rowwise(x_adv), rowwise(x), strict=True):
        low, high = np.maximum(centre - eps, 0), np.minimum(centre + eps, 1)
        solved = lsq_linear(np.eye(len(target)), target, bounds=(low, high), tol=1e-14).x
        np.testing.assert_allclose(row, solved, atol=1e-6)
        assert np.linalg.norm(row - target) <= np.linalg.norm(solved - target) + 1e-9


@given(pairs(), radii)
@FEW
def test_the_l2_projection_scales_the_difference_and_clips(pair, eps: float) -> None:
    x_adv, x = pair
    delta = rowwise(x_adv - x)
    lengths = np.linalg.norm(delta, axis=1, keepdims=True)
    expected = np.clip(
        rowwise(x) + delta * np.where(lengths > eps, eps / np.maximum(lengths, 1e-300), 1), 0, 1
    )
    np.testing.assert_allclose(rowwise(Threat(2, eps).project(x_adv, x)), expected, atol=1e-14)


@pytest.mark.parametrize("norm", ["inf", 2])
def test_radius_zero_projects_to_the_image_itself(norm) -> None:
    x = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Threat(norm, 0.0).project(x + 0.3, x), x)


def test_single_precision_leaves_the_ball_by_no_more_than_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(50, 3, 8, 8, generator=generator)
    far = x + torch.randn(x.shape, generator=generator)
    for threat in (Threat("inf", 8 / 255), Threat(2, 0.5)):
        assert (threat.distance(threat.project(far, x), x) <= threat.eps * (1 + 1e-6) + 1e-7).all()


def test_distance_is_the_largest_or_the_root_of_the_sum_of_squares() -> None:
    x = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    x_adv = torch.tensor([[3.0, -4.0, 0, 0], [1, 1, 1, -1]], dtype=torch.float64).view_as(x)
    assert Threat("inf", 0.1).distance(x_adv, x).tolist() == [4.0, 1.0]
    assert Threat(2, 0.1).distance(x_adv, x).tolist() == [5.0, 2.0]


@given(pairs(), norms, st.sampled_from([1.0, 1e-30, 1e30]))
@FEW
def test_steepest_has_length_one_and_reaches_the_dual_norm(pair, norm, scale: float) -> None:
    gradient = (pair[0] - pair[1]) * scale
    threat = Threat(norm, 0.1)
    direction = threat.steepest(gradient)
    torch.testing.assert_close(
        threat.distance(direction, torch.zeros_like(direction)), torch.ones(3).double()
    )
    # Hoelder's inequality holds with equality: <d, g> is the l_1 norm of g for l_inf, the l_2 norm for l_2.
    dual = (gradient / scale).flatten(1).norm(p=1 if norm == "inf" else 2, dim=1)
    torch.testing.assert_close((direction * gradient / scale).flatten(1).sum(1), dual)


@pytest.mark.parametrize("size", [1e-30, 1e-38, 1e-42])
def test_the_direction_of_a_tiny_gradient_in_single_precision_is_that_of_a_large_one(size: float) -> None:
    gradient = torch.tensor([3.0, 0.0, -4.0, 0.0]).view(1, 1, 2, 2)
    for norm, expected in (("inf", [1, 0, -1, 0]), (2, [0.6, 0, -0.8, 0])):
        found = Threat(norm, 0.1).steepest(gradient * size).flatten()
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=2e-3, atol=0)


@pytest.mark.parametrize("norm", ["inf", 2])
def test_there_is_no_direction_where_the_gradient_is_zero(norm) -> None:
    gradient = torch.zeros(2, 1, 2, 2)
    gradient[1] = 1
    found = Threat(norm, 0.1).steepest(gradient)
    assert torch.equal(found[0], torch.zeros(1, 2, 2)) and (found[1] > 0).all()


def grey(count: int, *shape: int) -> Tensor:
    return torch.full((count, *shape), 0.5, dtype=torch.float64)


GENERATORS = {
    "per example": lambda count: ExampleGenerator(2, torch.arange(count)),
    "one stream": lambda count: torch.Generator().manual_seed(2),
}
every_generator = pytest.mark.parametrize("generator", GENERATORS.values(), ids=GENERATORS)


@every_generator
def test_the_linf_start_is_uniform_in_the_cube(generator) -> None:
    x = grey(1000, 1, 2, 3)
    shift = (uniform_start(x, Threat("inf", 0.1), generator(1000)) - x) / 0.1
    assert shift.abs().max() <= 1 + 1e-12
    assert stats.kstest(shift.flatten().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@every_generator
@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 4, 4)])
def test_the_l2_start_is_uniform_in_the_ball(generator, shape: tuple[int, int, int]) -> None:
    x, d = grey(2000, *shape), math.prod(shape)
    delta = rowwise(uniform_start(x, Threat(2, 0.2), generator(2000)) - x)
    radius = np.linalg.norm(delta, axis=1)
    assert radius.max() <= 0.2 * (1 + 1e-12)
    # Uniform in the ball: (r / eps)^d is uniform, and the square of a direction's coordinate is Beta(1/2, (d - 1)/2).
    assert stats.kstest((radius / 0.2) ** d, "uniform").pvalue > 1e-3
    direction = delta / radius[:, None]
    for column in (0, d - 1):
        assert stats.kstest(direction[:, column] ** 2, stats.beta(0.5, (d - 1) / 2).cdf).pvalue > 1e-3
        assert abs((direction[:, column] > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(2000)
    assert abs(np.corrcoef(radius, direction[:, 0])[0, 1]) < 4 / math.sqrt(2000)


@every_generator
def test_the_gaussian_start_is_a_normal_shift_where_ball_and_box_are_far(generator) -> None:
    x = grey(500, 1, 3, 3)
    for std in (0.001, 0.01):
        shift = gaussian_start(x, Threat("inf", 0.3), generator(500), std=std) - x
        assert stats.kstest((shift / std).flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize(
    "start", [uniform_start, partial(gaussian_start, std=0.5)], ids=["uniform", "gaussian"]
)
def test_starts_lie_in_ball_and_box_also_at_the_box_s_faces(norm, start) -> None:
    x = torch.cat([torch.zeros(20, 1, 3, 3), torch.ones(20, 1, 3, 3)])
    threat = Threat(norm, 0.25)
    begun = start(x, threat, ExampleGenerator(0, torch.arange(40)))
    assert begun.min() >= 0 and begun.max() <= 1 and not torch.equal(begun, x)
    assert (threat.distance(begun, x) <= 0.25 + 1e-6).all()


@pytest.mark.parametrize("norm", ["inf", 2])
def test_starts_of_radius_zero_are_the_image(norm) -> None:
    x = torch.rand(3, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    for start in (uniform_start, gaussian_start):
        torch.testing.assert_close(start(x, Threat(norm, 0.0), None), x, rtol=0, atol=0)


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("start", [uniform_start, gaussian_start])
def test_starts_depend_on_the_example_and_the_seed_not_on_the_batch(norm, start) -> None:
    x, threat = grey(9, 2, 3, 3), Threat(norm, 0.2)
    whole = start(x, threat, ExampleGenerator(4, torch.arange(9)))
    part = start(x[[5, 2]], threat, ExampleGenerator(4, torch.tensor([5, 2])))
    assert torch.equal(part, whole[[5, 2]])
    assert not torch.equal(start(x, threat, ExampleGenerator(5, torch.arange(9))), whole)


@pytest.mark.parametrize("norm", ["inf", 2])
@pytest.mark.parametrize("start", [uniform_start, gaussian_start])
def test_no_images_have_no_starts(norm, start) -> None:
    none = torch.zeros(0, 3, 4, 4)
    generator = ExampleGenerator(0, torch.zeros(0, dtype=torch.long))
    assert start(none, Threat(norm, 0.2), generator).shape == (0, 3, 4, 4)


def test_starts_leave_the_global_random_states_alone() -> None:
    before = torch.get_rng_state(), random.getstate()
    for norm in ("inf", 2):
        uniform_start(grey(2, 1, 2, 2), Threat(norm, 0.1), None)
        gaussian_start(grey(2, 1, 2, 2), Threat(norm, 0.1), ExampleGenerator(0, torch.arange(2)))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]


@pytest.mark.parametrize("norm", ["inf", "Linf", "INF", math.inf, 2, "2", 2.0, "l2"])
def test_norms_may_be_written_in_several_ways(norm) -> None:
    threat = Threat(norm, 0.1)
    assert threat.norm in (math.inf, 2.0)
    assert threat.linf == ("inf" in str(norm).lower())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, 0.1), "norm: expected inf or 2, came 3"),
        (("l1", 0.1), "norm: expected inf or 2, came 'l1'"),
        (
            ("inf", 8),
            "came 8; write 8/255 for 8 of 255 grey levels (in YAML: ${px:8}), or allow_large_eps=true",
        ),
        (("inf", 1.0), "eps: expected a radius in [0, 1)"),
        (("inf", -0.1), "came -0.1"),
        (("inf", math.nan), "came nan"),
    ],
)
def test_a_bad_threat_is_explained(arguments, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        Threat(*arguments)
    assert said in str(raised.value)


def test_a_large_radius_is_taken_when_it_is_meant_but_never_an_infinite_one() -> None:
    assert Threat(2, 3.0, allow_large_eps=True).eps == 3.0
    for eps in (math.inf, math.nan, -1.0):
        with pytest.raises(ValueError, match="eps"):
            Threat(2, eps, allow_large_eps=True)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(3, 8, 8), r"\(batch, channel, height, width\), came shape \(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "torch.uint8; divide 8-bit images by 255"),
        (torch.full((1, 1, 2, 2), 255.0), "from 255 to 255; put normalisation inside the model"),
        (torch.full((1, 1, 2, 2), -1e-3), "came values from -0.001"),
        (torch.full((1, 1, 2, 2), torch.nan), "came NaN"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(x: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_images(x)


def test_one_bad_pixel_is_enough_to_be_refused_and_none_is_not() -> None:
    x = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0], x[1, 1, 1, 1] = 0.0, 1.0
    check_images(x)
    check_images(x[:0])
    for bad in (torch.nan, torch.inf, 1.0001, -0.0001):
        y = x.clone()
        y[3, 2, 7, 7] = bad
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            check_images(y)


class Quadratic(nn.Module):
    """logits_k = a_k ||x||^2 / 2: the gradient of logit k is a_k x."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x.flatten(1).square().sum(1, keepdim=True) * self.a


def test_the_input_gradient_is_each_example_s_own_and_leaves_parameters_without_one() -> None:
    model, y = Quadratic(), torch.tensor([0, 1, 2, 1])
    x = torch.rand(4, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model.a.grad = torch.full_like(model.a, 7.0)

    def objective(logits: Tensor, y: Tensor) -> Tensor:
        return logits.gather(1, y[:, None]).squeeze(1)

    with torch.no_grad():
        gradient, logits = input_gradient(model, x, y, objective)
    torch.testing.assert_close(gradient, model.a.detach()[y].view(-1, 1, 1, 1) * x)
    assert torch.equal(logits, model(x)) and not logits.requires_grad and not x.requires_grad
    assert torch.equal(model.a.grad, torch.full_like(model.a, 7.0))
    alone, _ = input_gradient(model, x[2:3], y[2:3], objective)
    assert torch.equal(alone[0], gradient[2])


def test_inference_mode_is_refused_by_name() -> None:
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        input_gradient(Quadratic(), torch.zeros(1, 1, 2, 2), torch.zeros(1).long(), lambda z, y: z.sum(1))
