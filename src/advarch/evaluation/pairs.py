"""What a transfer found, pair by pair of networks. No torch."""

from dataclasses import dataclass

CONVENTIONS = (
    "over all images, as papers print it",
    "on the images that source and target both classify right without an attack",
)
"""What the two numbers of a pair are over."""


@dataclass(frozen=True)
class Pair:
    """One cell: images made on the source, shown to the target.

    standing: of all images, those that the target classifies right without and with the attack; `low` and `high` bound
        their share (Wilson, 95 %).
    correct, total: the same on the images that source and target both classify right without an attack.
    """

    source: str
    target: str
    standing: int
    images: int
    low: float
    high: float
    correct: int
    total: int
    flags: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of all images that stand."""
        return self.standing / self.images

    @property
    def kept(self) -> float | None:
        """Share that keeps its label where both networks were right; None where there is no such image."""
        return self.correct / self.total if self.total else None


@dataclass(frozen=True)
class TransferRecord:
    """The source x target matrix of one attack; a pair of a network with itself is the white-box attack.

    `clean` counts, for each network, the images that it classifies right without an attack.
    """

    attack: str
    dataset: str
    norm: str
    eps: float
    images: int
    clean: dict[str, int]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pairs: tuple[Pair, ...]
    conventions: tuple[str, ...] = CONVENTIONS
    schema: int = 2

    def pair(self, source: str, target: str) -> Pair:
        """The cell of that source and target."""
        return next(pair for pair in self.pairs if (pair.source, pair.target) == (source, target))
