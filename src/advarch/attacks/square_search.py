"""The random search of the Square attack: propose a change, keep it if the margin falls."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from advarch.attacks.objectives import margin

_THRESHOLDS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_LOOK = 64
"""How far ahead a long-refused search looks for a query that is not idle, as half the number of queries."""


class Proposals(Protocol):
    """Where a search begins, and what it tries: drawn before it begins, so that query q is the same whoever asks.

    `start` is the first point of each example. `propose(points, rows, queries)` is what queries `queries` of examples
    `rows` make of `points`. `look(points, rows)` notes that the examples `rows` now stand at `points`, and
    `idle(rows, queries, since)` says which of the queries (rows, several) would change nothing there, or repeat one of the
    queries from `since` (rows,) on, which were refused there; None: not worth asking.
    """

    start: Tensor

    def propose(self, points: Tensor, rows: Tensor, queries: Tensor) -> Tensor: ...

    def look(self, points: Tensor, rows: Tensor) -> None: ...

    def idle(self, rows: Tensor, queries: Tensor, since: Tensor) -> Tensor | None: ...


class Found(NamedTuple):
    """Where each example's search ended, its margin there (positive: misclassified), and the queries it took."""

    points: Tensor
    margin: Tensor
    fooled: Tensor
    queries: Tensor


@dataclass
class _Ahead:
    """The queries each example is about to make."""

    query: Tensor
    """Their numbers (rows, several)."""
    chosen: Tensor
    """Which of them go through the model."""
    after: Tensor
    """The example's next query if it keeps none of them (rows,)."""


def fractions(queries: int, p_init: float, rescale: bool) -> list[float]:
    """The share p of the pixels that a window of each query covers.

    p_init, halved after queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000 (Andriushchenko et al. 2020, Section 4):
    a schedule made for 10,000 queries, which `rescale` stretches to `queries`.
    """
    moments = [int(query / queries * 10_000) if rescale else query for query in range(queries)]
    return [p_init / 2 ** sum(moment > threshold for threshold in _THRESHOLDS) for moment in moments]


@torch.no_grad()
def search(model: Any, y: Tensor, proposals: Proposals, queries: int, max_rows: int) -> Found:
    """Random search (Andriushchenko et al. 2020, Algorithm 1): a proposal is kept if max_{j != y} z_j - z_y rises.

    Each example has a clock of its own, and asks ahead: while its proposals are being refused, the next ones are made from
    the same point and go through the model together. The first that is kept ends the others, and the clock goes on behind
    it, so the outcome is that of one query after the other. An example asks ahead a quarter of the queries that it was
    last refused in a row, so few are wasted. A proposal that changes nothing, or that was refused before at the same point,
    is refused without asking the model. All of it rests on a model whose answer for an image is always the same.

    Args:
        model: images -> logits; only outputs are used.
        y: labels (batch,).
        proposals: what to try.
        queries: number of proposals.
        max_rows: images in one forward pass, unless there are more examples.
    """
    points = proposals.start.clone()
    best, fooled = _judge(model, points, y)
    asked = torch.ones(len(y), dtype=torch.long, device=y.device)
    clock = torch.zeros_like(asked)
    refused = torch.zeros_like(asked)
    rows = (~fooled).nonzero().squeeze(1) if queries else asked[:0]
    proposals.look(points[rows], rows)
    while len(rows):
        ahead = _ahead(proposals, rows, clock[rows], refused[rows], queries, max(1, max_rows // len(rows)))
        place, column = ahead.chosen.nonzero(as_tuple=True)
        kept = torch.full_like(rows, ahead.query.shape[1])
        if len(place):
            row, query = rows[place], ahead.query[place, column]
            candidates = proposals.propose(points[row], row, query)
            gain, fools = _judge(model, candidates, y[row])
            better = (gain > best[row]) | fools
            kept.scatter_reduce_(0, place, torch.where(better, column, ahead.query.shape[1]), "amin")
            first = (better & (column == kept[place])).nonzero().squeeze(1)
            row = row[first]
            points[row], best[row], fooled[row] = candidates[first], gain[first], fools[first]
            proposals.look(points[row], row)
        moved = kept < ahead.query.shape[1]
        now = torch.where(moved, clock[rows] + kept + 1, ahead.after)
        refused[rows] = torch.where(moved, 0, refused[rows] + now - clock[rows])
        asked[rows] += now - clock[rows]
        clock[rows] = now
        rows = rows[~fooled[rows] & (now < queries)]
    return Found(points, best, fooled, asked)


def _ahead(
    proposals: Proposals, rows: Tensor, clock: Tensor, refused: Tensor, queries: int, most: int
) -> _Ahead:
    """The next queries of each row, as many as it may ask ahead: at most `most`, idle ones not counted."""
    share = (refused // 4).clamp(1, most)
    span, reach = int(share.amax()), min(int(refused.amax()) // 4, _LOOK)
    query = clock[:, None] + torch.arange(2 * max(span, reach) + 2, device=clock.device)
    # The query that was kept last is one that changes nothing either.
    since = (clock - refused - 1).clamp(min=0)
    idle = proposals.idle(rows, query.clamp(max=queries - 1), since)
    if idle is None:
        query = query[:, :span]
        after = (clock + share).clamp(max=queries)
        return _Ahead(query, query < after[:, None], after)
    useful = (query < queries) & ~idle
    number = useful.cumsum(1)
    enough = number >= share[:, None]
    after = torch.where(enough[:, -1], clock + enough.long().argmax(1) + 1, clock + query.shape[1])
    return _Ahead(query, useful & (number <= share[:, None]), after.clamp(max=queries))


def _judge(model: Any, points: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(points)
    return margin(logits, y), logits.argmax(1) != y
