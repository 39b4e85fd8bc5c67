"""Learning rates against closed forms, and over whole runs against torch's own schedulers."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)

from advarch.lit.schedules import (
    constant,
    cosine,
    cyclic,
    epoch_at,
    multistep,
    piecewise_linear,
    scheduler,
)


def optimizer(lr: float = 0.1) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(schedule: Callable[..., float], epochs: int, steps: int, lr: float = 0.1) -> list[float]:
    """The rate of every optimizer step, and the one after the last."""
    sgd = optimizer(lr)
    stepped = scheduler(sgd, schedule, epochs=epochs, steps_per_epoch=steps)
    found = [sgd.param_groups[0]["lr"]]
    for _ in range(epochs * steps):
        sgd.step()
        stepped.step()
        found.append(sgd.param_groups[0]["lr"])
    return found


def torchs(
    make: Callable[..., object], epochs: int, steps: int, *, each_step: bool, lr: float = 0.1
) -> list[float]:
    """The same with one of torch's schedulers, stepped each epoch or each step."""
    sgd = optimizer(lr)
    stepped = make(sgd)
    found = [sgd.param_groups[0]["lr"]]
    for step in range(1, epochs * steps + 1):
        sgd.step()
        if each_step or step % steps == 0:
            stepped.step()
        found.append(sgd.param_groups[0]["lr"])
    return found


def test_constant_is_one_throughout() -> None:
    assert rates(constant, 3, 4) == [0.1] * 13


@pytest.mark.parametrize(
    ("t", "factor"), [(0, 1), (74.99, 1), (75, 0.1), (89.999, 0.1), (90, 0.01), (99.9, 0.01)]
)
def test_multistep_falls_at_the_milestones(t: float, factor: float) -> None:
    for milestones in ([75, 90], [0.75, 0.9], [90, 0.75]):
        assert multistep(t, total=100, milestones=milestones) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("total", "epoch"), [(20, 15), (100, 75), (4, 3), (8, 6), (1, 1)])
def test_a_milestone_below_one_is_a_share_of_the_run(total: int, epoch: int) -> None:
    found = [multistep(t, total=total, milestones=[0.75], gamma=0.5) for t in range(total)]
    assert found == [1.0] * epoch + [0.5] * (total - epoch)


@pytest.mark.parametrize("steps", [1, 3, 7, 11, 49, 98, 390, 391])
def test_multistep_falls_with_the_first_step_of_the_epoch_whatever_the_rounding(steps: int) -> None:
    epochs = 12
    found = rates(partial(multistep, milestones=[3, 9], gamma=0.1), epochs, steps)
    expected = torchs(lambda o: MultiStepLR(o, [3, 9], gamma=0.1), epochs, steps, each_step=False)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[3 * steps - 1] == 0.1 and found[3 * steps] == pytest.approx(0.01)


def test_cosine_at_chosen_points() -> None:
    for t, factor in (
        (0, 1),
        (25, 0.5 + math.sqrt(0.125)),
        (50, 0.5),
        (75, 0.5 - math.sqrt(0.125)),
        (100, 0),
    ):
        assert cosine(t, total=100) == pytest.approx(factor, abs=1e-15)
        assert cosine(t, total=100, final=0.2) == pytest.approx(0.2 + 0.8 * factor, abs=1e-15)
    assert cosine(7.9, total=10, per="epoch") == cosine(7, total=10)
    assert cosine(7.9, total=10, per="step") < cosine(7, total=10)


@pytest.mark.parametrize(("epochs", "steps", "final"), [(5, 7, 0.0), (10, 3, 0.01), (1, 13, 0.5)])
def test_cosine_per_step_and_per_epoch_equal_torch_s(epochs: int, steps: int, final: float) -> None:
    found = rates(partial(cosine, final=final), epochs, steps)
    expected = torchs(
        lambda o: CosineAnnealingLR(o, epochs * steps, eta_min=0.1 * final), epochs, steps, each_step=True
    )
    assert found == pytest.approx(expected, abs=1e-12)
    found = rates(partial(cosine, final=final, per="epoch"), epochs, steps)
    expected = torchs(
        lambda o: CosineAnnealingLR(o, epochs, eta_min=0.1 * final), epochs, steps, each_step=False
    )
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[-1] == pytest.approx(0.1 * final, abs=1e-12)


def test_cyclic_rises_to_the_peak_and_falls_to_zero() -> None:
    points = ((0, 0), (2.5, 0.25), (10, 1), (12.5, 0.75), (20, 0))
    for t, factor in points:
        assert cyclic(t, total=20) == pytest.approx(factor, abs=1e-15)
    for t, factor in ((0, 0), (2, 0.5), (4, 1), (12, 0.5), (20, 0)):
        assert cyclic(t, total=20, peak=0.2) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize("peak", [0.25, 0.5])
def test_cyclic_equals_torch_s_one_cycle_with_straight_lines(peak: float) -> None:
    epochs, steps = 8, 5
    found = rates(partial(cyclic, peak=peak), epochs, steps)
    # OneCycleLR reaches its ends on the steps themselves: one step more makes its period epochs * steps.
    make = partial(
        OneCycleLR,
        max_lr=0.1,
        total_steps=epochs * steps + 1,
        anneal_strategy="linear",
        div_factor=1e12,
        final_div_factor=1e12,
        cycle_momentum=False,
    )
    sgd = optimizer()
    stepped = make(sgd, pct_start=(peak * epochs * steps + 1) / (epochs * steps + 1))
    expected = []
    for _ in range(epochs * steps + 1):
        expected.append(sgd.param_groups[0]["lr"])
        sgd.step()
        if len(expected) <= epochs * steps:
            stepped.step()
    assert found == pytest.approx(expected, abs=1e-10)


SCHEDULES = {
    "constant": constant,
    "multistep": partial(multistep, milestones=[0.5, 0.75]),
    "cosine": partial(cosine, final=0.1),
    "cosine per epoch": partial(cosine, per="epoch"),
    "cyclic": cyclic,
    "warmed up": partial(cosine, warmup=0.5, warmup_from=0.1),
}


@given(st.integers(1, 200), st.integers(1, 500), st.data())
@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=60, deadline=None)
def test_factors_lie_between_nought_and_one_over_the_whole_run(
    name: str, epochs: int, steps: int, data
) -> None:
    step = data.draw(st.integers(0, epochs * steps))
    assert 0.0 <= SCHEDULES[name](step / steps, total=epochs) <= 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_scheduler_made_anew_and_loaded_goes_on_as_if_it_had_not_stopped(name: str) -> None:
    whole = rates(SCHEDULES[name], 4, 5)
    first, second = optimizer(), optimizer()
    one = scheduler(first, SCHEDULES[name], epochs=4, steps_per_epoch=5)
    for _ in range(7):
        first.step(), one.step()
    two = scheduler(second, SCHEDULES[name], epochs=4, steps_per_epoch=5)
    two.load_state_dict(one.state_dict())
    second.load_state_dict(first.state_dict())
    found = []
    for _ in range(13):
        second.step(), two.step()
        found.append(second.param_groups[0]["lr"])
    assert found == whole[8:]


@pytest.mark.parametrize(
    "points", [[[0, 0], [1, 1], [6, 0.1], [12, 0.01], [15, 0.001]], [[2, 3]], [[5, 1], [2, 0.5]]]
)
def test_piecewise_linear_is_numpy_s_interpolation(points: list) -> None:
    known = sorted(points)
    for t in np.linspace(0, 16, 161):
        expected = np.interp(t, [p[0] for p in known], [p[1] for p in known])
        assert piecewise_linear(float(t), total=15, points=points) == pytest.approx(
            expected, rel=1e-12, abs=1e-15
        )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_time_of_epochs_that_differ_is_whole_where_one_ends_and_even_within(steps: list[int]) -> None:
    found = [epoch_at(step, tuple(steps)) for step in range(sum(steps) + 1)]
    expected = [epoch + number / count for epoch, count in enumerate(steps) for number in range(count)]
    assert found == [*expected, len(steps)]
    assert epoch_at(7, 4) == 1.75 and epoch_at(8, 4) == epoch_at(8, (4, 4)) == 2.0


@pytest.mark.parametrize("begin", [None, 0.02 / 1.2])
def test_a_warm_up_is_a_straight_line_from_its_beginning_to_one(begin: float | None) -> None:
    start = begin or 0.0
    for schedule in (constant, partial(multistep, milestones=[10]), cosine):
        warmed = partial(schedule, total=20, warmup=4, warmup_from=begin)
        for t in (0, 0.5, 1, 3.9):
            assert warmed(t) == pytest.approx(start + (1 - start) * t / 4, rel=1e-12)
        assert warmed(4) == 1


def test_after_a_warm_up_milestones_stay_and_a_cosine_has_the_rest_of_the_run() -> None:
    found = [multistep(t, total=20, milestones=[0.5, 15], warmup=5) for t in range(20)]
    assert found == pytest.approx([t / 5 for t in range(5)] + [1] * 5 + [0.1] * 5 + [0.01] * 5)
    # RobNet's released schedule: 20 epochs up, then 150 of cosine from 1.2 to 0.001.
    for t in (20, 31.5, 95, 169.9, 170):
        expected = cosine(t - 20, total=150, final=0.001 / 1.2)
        assert cosine(t, total=170, final=0.001 / 1.2, warmup=20, warmup_from=0.02 / 1.2) == expected
    assert cosine(7.9, total=10, per="epoch", warmup=2) == cosine(5, total=8)


@pytest.mark.parametrize("warmup", [1, 2.5, 4])
def test_a_warm_up_over_a_whole_run_equals_torch_s_chain_of_schedulers(warmup: float) -> None:
    epochs, steps = 8, 4
    length = round(warmup * steps)

    def chain(sgd: torch.optim.SGD) -> SequentialLR:
        rising = LinearLR(sgd, start_factor=0.1, total_iters=length)
        return SequentialLR(
            sgd, [rising, CosineAnnealingLR(sgd, epochs * steps - length)], milestones=[length]
        )

    expected = torchs(chain, epochs, steps, each_step=True)
    found = rates(partial(cosine, warmup=warmup, warmup_from=0.1), epochs, steps)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
