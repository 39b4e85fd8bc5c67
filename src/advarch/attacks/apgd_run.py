"""One run of auto-PGD from a given start: momentum steps whose length each example halves for itself."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advarch.asked import about
from advarch.noise import Generator, normal, uniform
from advarch.threat import Threat, input_gradient

_TINY = 1e-12

Gain = Callable[[Tensor, Tensor], Tensor]
"""(logits of some rows, the numbers of those rows) -> what the run maximises, per row."""


class Settings(NamedTuple):
    """What every run of one attack shares; see `apgd` for the meaning."""

    threat: Threat
    steps: int
    step_size: float
    rho: float
    momentum: float
    eot_samples: int
    stop_on_success: bool


class Run(NamedTuple):
    """What a run found, a row each."""

    best: Tensor
    """The point of largest gain."""
    best_gain: Tensor
    fooling: Tensor
    """The latest misclassified point (with stop_on_success: the first); the start where there was none."""
    fooled: Tensor


@dataclass
class _State:
    """The rows still running. Every field has the rows as its first axis."""

    rows: Tensor
    x: Tensor
    x_adv: Tensor
    x_last: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_gain: Tensor
    step: Tensor
    last_gain: Tensor
    rises: Tensor
    gain_at_check: Tensor
    halved: Tensor

    def keep(self, selection: Tensor) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[selection])


def checkpoints(steps: int) -> list[int]:
    """After which of the `steps` steps the step length is checked: 22, 41, 57, 70, 80, 87, 93, 99 for 100 steps.

    w_j = p_j N with p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06) (Croce and Hein 2020, Section 3.2).
    For N other than 100 the published code cuts the three constants to whole steps, at least one, before it adds them;
    so do we, and for small N every step ends up a check.
    """
    length, shorter, shortest = (max(int(part * steps), 1) for part in (0.22, 0.03, 0.06))
    checks = [length]
    while checks[-1] + (length := max(length - shorter, shortest)) <= steps:
        checks.append(checks[-1] + length)
    return checks if checks[0] <= steps else []


def surface_start(x: Tensor, threat: Threat, generator: Generator | None = None) -> Tensor:
    """A random point on the surface of the ball, clipped to the box.

    x + eps * t / max |t| with t uniform in [-1, 1]^d for l_inf: one pixel is always a full eps away. x + eps * t / ||t||_2
    with t normal for l_2.
    """
    t = 2.0 * uniform(x, generator) - 1.0 if threat.linf else normal(x, generator)
    return (x + threat.eps * _unit(t, threat.linf)).clamp(0.0, 1.0)


@torch.no_grad()
def run_apgd(
    model: Any,
    start: Tensor,
    x: Tensor,
    y: Tensor,
    gain: Gain,
    settings: Settings,
    example: Tensor | None = None,
) -> Run:
    """Algorithm 1 of Croce and Hein (2020).

    z = P(x_k + s d(g_k)); x_{k+1} = P(x_k + m (z - x_k) + (1 - m) (x_k - x_{k-1})), m = 1 at the first step and
    `momentum` later; P projects to the ball, then to the box. Each row's step s starts at `step_size`; see `_check`.
    `steps` steps ask for steps + 1 gradients: the last point is judged too.

    Args:
        model: images -> logits, its parameters frozen.
        start: where each row begins.
        x: clean image of each row.
        y: label of each row.
        gain: what is maximised.
        settings: the constants.
        example: which example a row belongs to; with stop_on_success one fooling row ends all rows of its example.
            None: each row is an example.
    """
    gradient, gains, fooled = _look(model, start, torch.arange(len(x), device=x.device), y, gain, settings)
    run = Run(start.clone(), gains.clone(), start.clone(), fooled.clone())
    state = _begin(start, x, gradient, gains, settings.step_size)
    done = _Finished(example if example is not None else state.rows) if settings.stop_on_success else None
    checks, last_check = set(checkpoints(settings.steps)), 0
    if done:
        done.leave(state, fooled.nonzero().squeeze(1), run)
    for k in range(1, settings.steps + 1):
        if not len(state.rows):
            break
        _advance(state, settings.threat, settings.momentum if k > 1 else 1.0)
        watched = about(model, state.rows)
        state.gradient, gains, fooled = _look(watched, state.x_adv, state.rows, y, gain, settings)
        # Numbers, not a mask: a GPU's host waits once a step for how many there are.
        fell = fooled.nonzero().squeeze(1)
        if len(fell):
            run.fooled[state.rows[fell]] = True
            run.fooling[state.rows[fell]] = state.x_adv[fell]
        _remember(state, gains)
        if k in checks:
            _check(state, k - last_check, settings.rho)
            last_check = k
        if done:
            done.leave(state, fell, run)
    _store(state, run)
    return run


def _begin(start: Tensor, x: Tensor, gradient: Tensor, gains: Tensor, step_size: float) -> _State:
    return _State(
        rows=torch.arange(len(x), device=x.device),
        x=x,
        x_adv=start,
        x_last=start,
        gradient=gradient,
        best=start.clone(),
        best_gradient=gradient.clone(),
        best_gain=gains.clone(),
        step=torch.full((len(x), 1, 1, 1), step_size, dtype=x.dtype, device=x.device),
        # The published code compares the first step's gain with an unused row of zeros, not with the start's gain.
        last_gain=torch.zeros_like(gains),
        rises=torch.zeros_like(gains),
        gain_at_check=gains.clone(),
        halved=torch.ones_like(gains, dtype=torch.bool),
    )


def _look(
    model: Any, x_adv: Tensor, rows: Tensor, y: Tensor, gain: Gain, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient, gain and whether the point is misclassified; with EOT each an average over forward passes."""
    gradient, logits = input_gradient(model, x_adv, rows, gain)
    gains = gain(logits, rows)
    for _ in range(settings.eot_samples - 1):
        more, other_logits = input_gradient(model, x_adv, rows, gain)
        gradient, logits, gains = gradient + more, logits + other_logits, gains + gain(other_logits, rows)
    if settings.eot_samples > 1:
        gradient, gains = gradient / settings.eot_samples, gains / settings.eot_samples
    return gradient, gains, logits.argmax(1) != y[rows]


def _advance(state: _State, threat: Threat, momentum: float) -> None:
    carried = state.x_adv - state.x_last
    state.x_last = state.x_adv
    direction = state.gradient.sign() if threat.linf else _unit(state.gradient, linf=False)
    ball = _ball(state.x, threat)
    z = ball(state.x_adv + state.step * direction)
    state.x_adv = ball(state.x_adv + (z - state.x_adv) * momentum + carried * (1.0 - momentum))


def _ball(x: Tensor, threat: Threat) -> Callable[[Tensor], Tensor]:
    """The projection to the ball around x and the box, in the order of operations of the published code."""
    if threat.linf:
        low, high = (x - threat.eps).clamp_(min=0.0), (x + threat.eps).clamp_(max=1.0)
        return lambda z: torch.clamp(z, low, high)

    def project(z: Tensor) -> Tensor:
        delta = z - x
        return (x + _unit(delta, linf=False) * _length(delta).clamp(max=threat.eps)).clamp_(0.0, 1.0)

    return project


def _remember(state: _State, gains: Tensor) -> None:
    """Keep the point of largest gain, and count how often the gain rose since the last check."""
    state.rises += gains > state.last_gain
    state.last_gain = gains
    better = gains > state.best_gain
    wide = better.view(-1, 1, 1, 1)
    state.best = torch.where(wide, state.x_adv, state.best)
    state.best_gradient = torch.where(wide, state.gradient, state.best_gradient)
    state.best_gain = torch.where(better, gains, state.best_gain)


def _check(state: _State, length: int, rho: float) -> None:
    """Halve a row's step and send it back to its best point where one of the paper's two conditions holds.

    1: the gain rose in at most rho of the `length` steps since the last check. 2: the step was not halved at the last
    check, and the best gain is no better since. At the first check only condition 1 counts.
    """
    halve = (state.rises <= rho * length) | (~state.halved & (state.gain_at_check >= state.best_gain))
    wide = halve.view(-1, 1, 1, 1)
    state.step = torch.where(wide, state.step / 2.0, state.step)
    state.x_adv = torch.where(wide, state.best, state.x_adv)
    state.gradient = torch.where(wide, state.best_gradient, state.gradient)
    state.halved, state.gain_at_check = halve, state.best_gain
    state.rises = torch.zeros_like(state.rises)


class _Finished:
    """Which examples have a fooling row; a copy only when someone leaves."""

    def __init__(self, example: Tensor) -> None:
        self.example = example
        self.over = torch.zeros(len(example), dtype=torch.bool, device=example.device)

    def leave(self, state: _State, fell: Tensor, run: Run) -> None:
        """Write the finished examples' rows to the run, and take them out of the state; `fell`: places of fooling rows."""
        if not len(fell):
            return
        self.over[self.example[state.rows[fell]]] = True
        _store(state, run)
        state.keep((~self.over[self.example[state.rows]]).nonzero().squeeze(1))


def _store(state: _State, run: Run) -> None:
    run.best[state.rows] = state.best
    run.best_gain[state.rows] = state.best_gain


def _length(delta: Tensor) -> Tensor:
    return delta.square().flatten(1).sum(1).sqrt().view(-1, 1, 1, 1)


def _unit(t: Tensor, linf: bool) -> Tensor:
    length = t.abs().flatten(1).amax(1).view(-1, 1, 1, 1) if linf else _length(t)
    return t / (length + _TINY)
