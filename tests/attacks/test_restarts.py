"""Runs from several starts: which of them each image keeps, and that each begins elsewhere."""

from typing import Any

import torch
from torch import Tensor

from advarch.attacks.restarts import Rows, over_restarts
from advarch.noise import Generator, uniform


def logits(x: Tensor) -> Tensor:
    """Two classes; the second wins above one half."""
    return torch.stack([torch.full_like(x[:, 0, 0, 0], 0.5), x[:, 0, 0, 0]], 1)


def gain(found: Tensor, y: Tensor) -> Tensor:
    return found[:, 1] - found[:, 0]


def test_the_first_run_that_fools_is_kept_else_the_one_of_largest_gain() -> None:
    runs = iter([torch.tensor([0.6, 0.2, 0.4]), torch.tensor([0.3, 0.7]), torch.tensor([0.1])])
    asked = []

    def run(model: Any, rows: Rows, generator: Generator) -> Tensor:
        asked.append(rows.tolist() if isinstance(rows, Tensor) else rows)
        return next(runs).view(-1, 1, 1, 1)

    x, y = torch.zeros(3, 1, 1, 1), torch.zeros(3, dtype=torch.long)
    found = over_restarts(logits, x, y, run, 3, objective=gain, generator=None)
    assert asked == [[0, 1, 2], [1, 2], [1]], "who was fooled is left alone"
    torch.testing.assert_close(found.flatten(), torch.tensor([0.6, 0.3, 0.7]))


def test_without_a_generator_every_run_begins_elsewhere_and_one_run_has_all_rows() -> None:
    starts: list[Tensor] = []

    def run(model: Any, rows: Rows, generator: Generator) -> Tensor:
        starts.append(uniform(x[rows], generator) / 2)
        return starts[-1]

    x, y = torch.zeros(4, 1, 1, 1), torch.zeros(4, dtype=torch.long)
    over_restarts(logits, x, y, run, 2, objective=gain, generator=None)
    assert not torch.equal(starts[0], starts[1])
    assert over_restarts(logits, x, y, run, 1, objective=gain, generator=None) is starts[2]
