"""How long things take: peers alternate in the same process, and medians are compared, because machines are noisy."""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

Action = Callable[[], object]


def settle() -> None:
    """Wait until a GPU has done what it was told."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(action: Action) -> float:
    """How long one call takes."""
    settle()
    began = time.perf_counter()
    action()
    settle()
    return time.perf_counter() - began


MORE, ENOUGH = 3, 10.0
"""What takes less than so many seconds altogether is repeated up to so many times as often."""


def alternate(actions: Mapping[str, Action], rounds: int) -> dict[str, float]:
    """Median seconds of each action, taken in turns after one warm-up each; short ones more often, for they vary more."""
    for action in actions.values():
        action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for done in range(MORE * rounds):
        if done >= rounds and sum(map(sum, taken.values())) > ENOUGH:
            break
        for name, action in actions.items():
            taken[name].append(seconds(action))
    return {name: statistics.median(values) for name, values in taken.items()}
