"""How far a long piece of work is: a bar in a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

EVERY = 5.0
"""Seconds between two plain lines."""


def tracked(items: Iterable[Item], *, total: int, label: str) -> Iterator[Item]:
    """Yield the items and show on stderr how many of `total` are done.

    A log file gets lines and not a bar: control characters would make it unreadable.
    """
    return _bar(items, total, label) if sys.stderr.isatty() else _lines(items, total, label)


def _bar(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=label)


def _lines(items: Iterable[Item], total: int, label: str) -> Iterator[Item]:
    start = said = 0.0
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == 1:
            start = said = (
                now  # counted from the first item on: starting worker processes is no part of the pace
            )
        if now - said >= EVERY and done < total:
            said = now
            rate = (done - 1) / (now - start)
            left = (total - done) / rate
            print(
                f"{label}: {done} of {total}, {rate:.0f} a second, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
