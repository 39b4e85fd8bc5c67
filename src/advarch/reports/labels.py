"""Where to write the names of points so that no name covers another name or a point. Plain geometry, in pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """An upright rectangle."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return width * height if width > 0 and height > 0 else 0.0

    def inside(self, frame: "Box") -> bool:
        """Whether it lies wholly in the frame."""
        across = frame.left <= self.left and self.right <= frame.right
        return across and frame.bottom <= self.bottom and self.top <= frame.top


@dataclass(frozen=True)
class Name:
    """A text of that size to be written beside the point (x, y)."""

    x: float
    y: float
    width: float
    height: float


DIRECTIONS = tuple(
    math.radians(degrees) for degrees in (0, 180, 40, 140, -40, -140, 90, -90, 20, 160, -20, -160)
)

CROSSING = 3.0
"""What covering one soft box costs: more than the next ring (2), so a name steps over a bar rather than onto it."""


def place(
    names: Sequence[Name], solid: Sequence[Box], soft: Sequence[Box], frame: Box, *, gap: float
) -> list[Box | None]:
    """A box for each name, or None where there is no room; earlier names choose first.

    A name never touches a solid box (points), another name, or the frame; it covers as little as it can of the soft boxes
    (error bars), stays near its point, and right and left are preferred to above and below.
    """
    taken = list(solid)
    placed: list[Box | None] = []
    for name in names:
        best: Box | None = None
        least = math.inf
        for cost, box in _candidates(name, gap):
            if cost >= least or not box.inside(frame) or any(box.overlap(other) > 0 for other in taken):
                continue
            cost += CROSSING * sum(box.overlap(bar) > 0 for bar in soft)
            if cost < least:
                best, least = box, cost
        placed.append(best)
        taken += [best] if best else []
    return placed


def _candidates(name: Name, gap: float) -> list[tuple[float, Box]]:
    """Boxes around a point with what their place costs: by distance first, then by direction."""
    found = []
    for ring, distance in enumerate((gap, 2 * gap, 3 * gap)):
        for rank, angle in enumerate(DIRECTIONS):
            x = name.x + math.cos(angle) * (distance + name.width / 2)
            y = name.y + math.sin(angle) * (distance + name.height / 2)
            half_width, half_height = name.width / 2, name.height / 2
            box = Box(x - half_width, y - half_height, x + half_width, y + half_height)
            found.append((2 * ring + 0.15 * rank, box))
    return found
