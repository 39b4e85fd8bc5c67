"""Sick networks planted: each is caught by the flag that names it, and a sound one raises none."""

import pytest
import torch
from torch import nn

from advarch.errors import InputError
from advarch.evaluation.probes import probe
from advarch.evaluation.sanity import TEXTS
from advarch.evaluation.trials import logit_scale
from advarch.threat import Threat
from tests.evaluation import nets

PLANTED = [
    (nets.Quantised, "zero_gradients"),
    (nets.Stochastic, "random_outputs"),
    (nets.Saturated, "logit_scale"),
    (nets.Probabilities, "softmax_output"),
    (nets.Detached, "detached_input"),
    (nets.Optimising, "gradient_in_forward"),
]


def flags(net: nn.Module, norm: str = "inf", eps: float = 0.1) -> tuple[str, ...]:
    x, y = nets.digits()
    return probe(net, x[:400], y[:400], threat=Threat(norm, eps), seed=0)


@pytest.mark.parametrize(("norm", "eps"), [("inf", 0.05), ("inf", 0.2), ("2", 0.5)])
def test_a_sound_net_raises_no_flag(norm: str, eps: float) -> None:
    assert flags(nets.sound_net(), norm, eps) == ()


@pytest.mark.parametrize(("sick", "flag"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_sick_net_is_caught_by_the_flag_that_names_it(sick: type[nn.Module], flag: str) -> None:
    found = flags(sick())
    assert flag in found
    assert set(found) <= set(TEXTS)
    # Apart from its consequence, an attack that fails, it is not accused of anything else.
    assert set(found) <= {flag, "unbounded_not_zero"}, found


@pytest.mark.parametrize("count", [60, 100])
@pytest.mark.parametrize("eps", [0.05, 0.1])
@pytest.mark.parametrize("times", [1.0, 100.0, 1000.0])
def test_saturation_is_told_from_soundness_on_few_images_and_small_radii(
    times: float, eps: float, count: int
) -> None:
    x, y = nets.digits()
    threat = Threat("inf", eps)
    assert logit_scale(nets.Saturated(times), x[:count], y[:count], threat, 0) == (times > 1)


def test_a_net_that_stays_in_training_mode_is_refused() -> None:
    with pytest.raises(InputError, match=r"dropout \(Dropout\) in training mode"):
        flags(nets.StuckInTraining())


def test_a_net_that_was_training_is_put_back_and_its_weights_ask_for_gradients() -> None:
    net = nets.Saturated().train()
    flags(net)
    assert net.training and all(p.requires_grad and p.grad is None for p in net.parameters())


def test_the_autograd_engine_is_given_back() -> None:
    before = torch.autograd._engine_run_backward, torch.autograd.grad, torch.autograd.backward
    flags(nets.Optimising())
    assert before == (
        torch.autograd._engine_run_backward,
        torch.autograd.grad,
        torch.autograd.backward,
    )
