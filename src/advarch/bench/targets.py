"""What is asked for, as data, and whether a bench reached it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from advarch.bench.data import SHARE
from advarch.bench.evaluation import COMPILED, IMAGES, PEER_COMPILED
from advarch.bench.evaluation import PEER as PYAUTOATTACK
from advarch.bench.machine import BF16
from advarch.bench.peers import NAIVE
from advarch.bench.row import OURS, Row
from advarch.bench.search import PEER as PLAIN_SEARCH
from advarch.bench.startup import HELP, PLAN


@dataclass(frozen=True)
class Target:
    """A bound on a ratio or figure.

    row: how the names of the rows begin for which it holds.
    figures: peers or figures, the best of which counts.
    bound: at least for `least`, else at most.
    device: what it is asked for on; None: any.
    needs: the CPU instructions it is asked for with.
    """

    row: str
    figures: tuple[str, ...]
    bound: float
    least: bool = True
    device: Literal["cpu", "cuda"] | None = None
    needs: str = ""

    @property
    def words(self) -> str:
        """What is asked for."""
        what = self.figures[0]
        if "," in what:
            return f"{what}: {'at least' if self.least else 'at most'} {self.bound:,g}"
        return f"{self.bound:g} times {what}"


def _estimated(way: str) -> str:
    return f"{way}, {IMAGES:,} images of which half stand, estimated, min"


OUR_RATE = f"{OURS}, images/s"

TARGETS = (
    Target("start-up", (HELP,), 1.5, least=False),
    Target("start-up", (PLAN,), 8.0, least=False),
    Target("training: PGD-10 AT, WRN-16-4", (NAIVE,), 4.5, device="cpu", needs=BF16),
    Target("training: PGD-10 AT, WRN-16-4", ("torchattacks",), 2.5, device="cpu", needs=BF16),
    Target("evaluation: PGD-20", ("torchattacks",), 2.0, device="cpu"),
    Target("AutoAttack", (PYAUTOATTACK, PEER_COMPILED), 3.0, device="cpu", needs=BF16),
    Target("search", (PLAIN_SEARCH,), 2.0, device="cpu", needs=BF16),
    Target("data path", (SHARE,), 2.0, least=False, device="cpu", needs=BF16),
    Target("training: PGD-10 AT, WRN-34-10", (OUR_RATE,), 1200.0, device="cuda"),
    Target("training: PGD-10 AT, ResNet-18", (OUR_RATE,), 9000.0, device="cuda"),
    Target(
        "AutoAttack: WRN-34-10",
        (_estimated(OURS), _estimated(COMPILED)),
        20.0,
        least=False,
        device="cuda",
    ),
)
"""Those with `needs` are asked for on two cores with AVX-512 bf16; those of a GPU on one H100-class card."""


@dataclass(frozen=True)
class Verdict:
    """A target at a row: what was reached, None where the row has no such number."""

    row: str
    target: Target
    reached: float | None
    elsewhere: bool

    @property
    def ahead(self) -> bool:
        """Whether it is reached; what could not be compared is not."""
        if self.reached is None:
            return False
        bound = self.target.bound
        return self.reached >= bound if self.target.least else self.reached <= bound

    @property
    def words(self) -> str:
        """As "behind (1.66); asked for on a CPU with AVX-512 bf16"."""
        if self.reached is None:
            return "not comparable"
        told = f"{'ahead' if self.ahead else 'behind'} ({number(self.reached)})"
        return f"{told}; asked for on a CPU with AVX-512 bf16" if self.elsewhere else told


def verdicts(rows: Sequence[Row], device: str, flags: Collection[str]) -> Iterator[Verdict]:
    """Each target at each row that it holds for; a row that lacks its peer or failed is no row of a target."""
    for target in TARGETS:
        if target.device not in (None, device):
            continue
        for row in rows:
            if not row.name.startswith(target.row) or not row.figures:
                continue
            found = [value for name in target.figures if (value := row.value(name)) is not None]
            if not found and not _refused(row, target):
                continue
            best = (max if target.least else min)(found) if found else None
            yield Verdict(row.name, target, best, bool(target.needs) and target.needs not in flags)


def _refused(row: Row, target: Target) -> bool:
    """Whether the peer was measured and did other work."""
    return any(name.startswith(f"{target.figures[0]}, ") for name in row.figures)


def number(value: float) -> str:
    """Three digits, or whole."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
