"""Programs that find which images stand: timed in turns, and compared where they leave as many."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from torch import Tensor

from advarch.bench.bench import Bench
from advarch.bench.equal import unlike_counts
from advarch.bench.row import OURS, Row, compared
from advarch.bench.timing import alternate


def standing_row(
    bench: Bench,
    name: str,
    runs: Mapping[str, Callable[[], Tensor]],
    images: int,
    *,
    where: str = "",
    notes: Iterable[str] = (),
) -> Row:
    """A row in images per second.

    Args:
        runs: `OURS` and the peers -> which of the images stand, boolean (images,).
        where: what the note on those that stand ends with.
        notes: further ones.
    """
    standing: dict[str, int] = {}

    def count(who: str) -> None:
        standing[who] = int(runs[who]().sum())

    taken = alternate({who: partial(count, who) for who in runs}, bench.sizes.rounds)
    said = f"{standing[OURS]} of {images} images stand{where}"
    refused = unlike_counts(standing, images)
    return compared(name, taken, images, "images/s", refused=refused, notes=(said, *notes))
