"""How long things take: peers alternate in the same process, and medians are compared, because machines are noisy."""

import statistics
import time
from collections.abc import Callable

ROUNDS = 5


def seconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def alternate(actions: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each action, taken in turns after one warm-up each."""
    for action in actions.values():
        action()
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            taken[name].append(seconds(action))
    return {name: statistics.median(values) for name, values in taken.items()}
