"""What the Square attack proposes in each norm: squares of one sign (l_inf), squares of moved mass (l_2)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from advarch.noise import Generator, pick, ready, uniform

_TINY = 1e-12
_DRAWN_TOGETHER = 64
_FEW_CHANNELS = 8  # with more, the same signs hardly come twice


class Draws(NamedTuple):
    """Every random choice of a search, (batch, queries, ...): drawn at once, so that a query's are its own.

    `place` is the window's upper left corner, row and column (l_2: then those of the second window); `sign` is +-1 for
    each channel; `turned` whether the l_2 pattern lies on its side.
    """

    place: Tensor
    sign: Tensor
    turned: Tensor


def draw(x: Tensor, sizes: Tensor, windows: int, generator: Generator | None) -> Draws:
    """Independent choices for each example and query; a corner is uniform among all at which the window fits.

    Args:
        x: images.
        sizes: the window's side at each query (queries,).
        windows: 1 for l_inf, 2 for l_2.
        generator: source of the choices.
    """
    batch, channel, height, width = x.shape
    generator = ready(generator)
    room = torch.stack((height - sizes, width - sizes), dim=1).add(1).repeat(1, windows)
    drawn = []
    for part in torch.arange(batch, device=x.device).split(_DRAWN_TOGETHER):
        like = x.new_empty(len(part), len(sizes), 2 * windows + channel + 1, dtype=torch.float32)
        corner, sign, turned = uniform(like, pick(generator, part)).split((2 * windows, channel, 1), dim=2)
        place = (corner * room).long().minimum(room - 1).short()
        drawn.append(Draws(place, torch.where(sign < 0.5, -1, 1).to(torch.int8), turned[..., 0] > 0.5))
    return Draws(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))


class LinfWindows:
    """l_inf: a square in which each channel goes to one end of its range, x - eps or x + eps cut to the box."""

    def __init__(self, x: Tensor, eps: float, sizes: Tensor, stripes: Tensor, draws: Draws) -> None:
        self.low, self.high = (x - eps).clamp(min=0.0), (x + eps).clamp(max=1.0)
        self.sizes, self.draws = sizes, draws
        self.start = torch.where(stripes > 0, self.high, self.low)
        batch, channel, height, width = x.shape
        corners = (batch, 2 * channel, height + 1, width + 1)
        self._differs = torch.zeros(corners, dtype=torch.int32, device=x.device)
        self._earlier = repeated(sizes, draws, max(height, width))

    @staticmethod
    def sides(fractions: Sequence[float], height: int, width: int) -> Tensor:
        """Side of the window at each query: round(sqrt(p h w)), at least 1."""
        sides = [max(round(math.sqrt(p * height * width)), 1) for p in fractions]
        return torch.tensor(sides, dtype=torch.long).clamp(max=min(height, width))

    @staticmethod
    def stripes(x: Tensor, generator: Generator | None) -> Tensor:
        """+-1 for each image, channel and column: the vertical stripes of the first point."""
        return torch.where(uniform(x[:, :, :1], generator) < 0.5, -1.0, 1.0)

    def propose(self, points: Tensor, rows: Tensor, queries: Tensor) -> Tensor:
        place, sign = self.draws.place[rows, queries], self.draws.sign[rows, queries]
        inside = _window(place[:, :2], self.sizes[queries], points)
        end = torch.where(sign[:, :, None, None] > 0, self.high[rows], self.low[rows])
        return torch.where(inside, end, points)

    def look(self, points: Tensor, rows: Tensor) -> None:
        if self.start.shape[1] > 1:
            return
        # How many pixels above and left of each corner are not at the upper (the lower) end: a window's count is then
        # four look-ups.
        differs = torch.cat((points != self.high[rows], points != self.low[rows]), dim=1)
        self._differs[rows, :, 1:, 1:] = differs.cumsum(2, dtype=torch.int32).cumsum(3, dtype=torch.int32)

    def idle(self, rows: Tensor, queries: Tensor, since: Tensor) -> Tensor:
        repeats = self._earlier[rows[:, None], queries] >= since[:, None]
        # With three channels some 1 in 60 changes nothing, fewer than the look-ups cost; with one channel 1 in 3.
        return repeats if self.start.shape[1] > 1 else repeats | self._changes_nothing(rows, queries)

    def _changes_nothing(self, rows: Tensor, queries: Tensor) -> Tensor:
        channel, height, width = self._differs.shape[1] // 2, *self._differs.shape[2:]
        place, sign = self.draws.place[rows[:, None], queries].long(), self.draws.sign[rows[:, None], queries]
        top, left = place[..., 0, None], place[..., 1, None]
        side = self.sizes[queries][..., None]
        plane = torch.arange(channel, device=rows.device) + torch.where(sign > 0, 0, channel)
        plane = (rows[:, None, None] * 2 * channel + plane) * (height * width)
        counts = self._differs.view(-1)

        def above_left(row: Tensor, column: Tensor) -> Tensor:
            return counts[plane + row * width + column]

        bottom, right = top + side, left + side
        lower = above_left(bottom, right) - above_left(bottom, left)
        upper = above_left(top, right) - above_left(top, left)
        return (lower == upper).all(-1)


class L2Windows:
    """l_2: a window takes over the mass of a second one, reshaped by a fixed pattern; the length stays eps."""

    def __init__(
        self, x: Tensor, eps: float, sizes: Tensor, tile_sign: Tensor, tile_turned: Tensor, draws: Draws
    ) -> None:
        self.x, self.eps, self.sizes, self.draws = x, eps, sizes, draws
        distinct, self._number = sizes.unique(return_inverse=True)
        self._span = int(sizes.amax()) if len(sizes) else 1
        self._patterns = torch.zeros(len(distinct), self._span, self._span, dtype=x.dtype, device=x.device)
        for number, size in enumerate(distinct.tolist()):
            self._patterns[number, :size, :size] = pattern(size).to(x)
        self.start = self._scaled(_tiles(x, tile_sign, tile_turned), x)

    @staticmethod
    def sides(fractions: Sequence[float], height: int, width: int) -> Tensor:
        """Side of the window at each query: round(sqrt(p h w)), at least 3, the next odd number, cut to the image."""
        sides = [max(round(math.sqrt(p * height * width)), 3) | 1 for p in fractions]
        return torch.tensor(sides, dtype=torch.long).clamp(max=min(height, width))

    def propose(self, points: Tensor, rows: Tensor, queries: Tensor) -> Tensor:
        x, size = self.x[rows], self.sizes[queries]
        place, sign = self.draws.place[rows, queries], self.draws.sign[rows, queries]
        delta = points - x
        first, second = _window(place[:, :2], size, points), _window(place[:, 2:], size, points)
        spare = (self.eps**2 - _mass(delta, (1, 2, 3))).clamp(min=0.0) / x.shape[1]
        budget = (spare + _mass(delta * (first | second), (2, 3))).sqrt()
        shape = self._pattern(place, queries, self.draws.turned[rows, queries], points)
        new = (shape * sign[:, :, None, None] + delta / (_TINY + _mass(delta * first, (2, 3)).sqrt())) * first
        new = new / (_TINY + _mass(new, (2, 3)).sqrt()) * budget
        delta = torch.where(first, new, torch.where(second, 0.0, delta))
        return self._scaled(delta, x)

    def look(self, points: Tensor, rows: Tensor) -> None:
        del points, rows

    def idle(self, rows: Tensor, queries: Tensor, since: Tensor) -> None:
        del rows, queries, since

    def _scaled(self, delta: Tensor, x: Tensor) -> Tensor:
        return (x + delta / (_mass(delta, (1, 2, 3)).sqrt() + _TINY) * self.eps).clamp(0.0, 1.0)

    def _pattern(self, place: Tensor, queries: Tensor, turned: Tensor, like: Tensor) -> Tensor:
        row = torch.arange(like.shape[2], device=like.device) - place[:, 0, None]
        column = torch.arange(like.shape[3], device=like.device) - place[:, 1, None]
        row, column = (number.clamp(0, self._span - 1) for number in (row, column))
        row, column, turned = row[:, :, None], column[:, None, :], turned[:, None, None]
        cell = torch.where(turned, column * self._span + row, row * self._span + column)
        return self._patterns.view(-1)[self._number[queries, None, None] * self._span**2 + cell][:, None]


def repeated(sizes: Tensor, draws: Draws, longest: int) -> Tensor:
    """For each query the last earlier one of the same window and signs, -1 where there is none: int32 (batch, queries).

    Args:
        sizes: the window's side at each query (queries,).
        draws: of l_inf.
        longest: the longer side of the images.
    """
    earlier = torch.full(draws.place.shape[:2], -1, dtype=torch.int32, device=draws.place.device)
    if draws.sign.shape[2] > _FEW_CHANNELS:
        return earlier
    for part in torch.arange(len(earlier), device=earlier.device).split(_DRAWN_TOGETHER):
        key = sizes.expand(len(part), -1)
        for number in draws.place[part, :, :2].long().unbind(2):
            key = key * (longest + 1) + number
        for sign in draws.sign[part].unbind(2):
            key = key * 2 + (sign > 0)
        ordered, order = key.sort(dim=1, stable=True)
        same = ordered[:, 1:] == ordered[:, :-1]
        before = torch.where(same, order[:, :-1], -1).int()
        earlier[part] = earlier[part].scatter(1, order[:, 1:], before)
    return earlier


def pattern(side: int) -> Tensor:
    """The l_2 update of a square: a positive upper and a negative lower half, each of length one, together of length one.

    Within a half of m x n cells the weight is sum_{k=r}^{K-1} (k + 1)^-2, K = floor(max(m, n) / 2) + 1, with r the
    chessboard distance to the cell (floor(m / 2), floor(n / 2)) (Andriushchenko et al. 2020, Section 3.3).
    """
    upper, lower = side // 2, side - side // 2
    both = torch.cat((_hill(upper, side), -_hill(lower, side)))
    return both / both.square().sum().sqrt()


def tile_corners(height: int, width: int) -> tuple[int, list[tuple[int, int]]]:
    """Side and corners of the tiles of the l_2 start: a fifth of the shorter side, as many as fit."""
    side = max(min(height, width) // 5, 1)
    margin = (min(height, width) - 5 * side) // 2 if min(height, width) >= 5 else 0
    rows, columns = range(margin, height - side + 1, side), range(margin, width - side + 1, side)
    return side, [(row, column) for row in rows for column in columns]


def _tiles(x: Tensor, sign: Tensor, turned: Tensor) -> Tensor:
    side, corners = tile_corners(*x.shape[2:])
    shape = pattern(side).to(x)
    delta = torch.zeros_like(x)
    for number, (row, column) in enumerate(corners):
        tile = torch.where(turned[:, number, None, None, None], shape.T, shape)
        delta[:, :, row : row + side, column : column + side] = tile * sign[:, number, :, None, None]
    return delta


def _hill(rows: int, columns: int) -> Tensor:
    down = (torch.arange(rows) - rows // 2).abs()[:, None]
    across = (torch.arange(columns) - columns // 2).abs()
    count = max(rows, columns) // 2 + 1
    terms = torch.arange(1, count + 1, dtype=torch.float32) ** -2.0
    tails = terms.flip(0).cumsum(0).flip(0)
    hill = tails[torch.maximum(down.expand(rows, columns), across.expand(rows, columns))]
    return hill / hill.square().sum().sqrt() if hill.numel() else hill


def _window(corner: Tensor, side: Tensor, like: Tensor) -> Tensor:
    """Which pixels lie in the square: (batch, 1, height, width)."""
    row = torch.arange(like.shape[2], device=like.device) - corner[:, 0, None]
    column = torch.arange(like.shape[3], device=like.device) - corner[:, 1, None]
    side = side[:, None]
    return (((row >= 0) & (row < side))[:, :, None] & ((column >= 0) & (column < side))[:, None, :])[:, None]


def _mass(delta: Tensor, dim: tuple[int, ...]) -> Tensor:
    return delta.square().sum(dim=dim, keepdim=True)
