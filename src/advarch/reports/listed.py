"""What the page of a whole folder says of each run and of each sweep: plain data, so that it can be kept beside the page."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields

from advarch.errors import InputError
from advarch.evaluation.sanity import TABLE_WIDE
from advarch.records import AttackResult, RunRecord
from advarch.reports.closing import Coverage
from advarch.reports.rows import gather, printable
from advarch.reports.shape import Shape


@dataclass(frozen=True)
class Line:
    """A run: the name of its folder, what tells it from the others, its accuracies in [0, 1].

    `changed`: when its files last changed, in seconds since 1970; None where there is no folder.
    """

    name: str
    state: str
    label: str = ""
    error: str = ""
    clean: float | None = None
    robust: float | None = None
    against: str = ""
    flags: tuple[str, ...] = ()
    changed: float | None = None
    weights: str = ""
    """Of an evaluation by `advarch attack`: the checkpoint, as typed."""


@dataclass(frozen=True)
class Entry:
    """A sweep, or a folder of single runs: its path below the page, its words, its jobs, and why it has no report.

    `candidates`: of its searches, how many are in which state. `given`: these are evaluations of given networks, and no jobs.
    """

    path: str
    title: str
    lines: tuple[Line, ...]
    coverage: Coverage
    candidates: dict[str, int] = field(default_factory=dict)
    report: bool = False
    note: str = ""
    given: bool = False


def line(run: RunRecord, changed: float | None, label: str = "", weights: str = "") -> Line:
    """The line of a run."""
    clean, robust = numbers(run)
    raised = [flag for record in run.evaluations.values() for flag in record.flags if flag not in TABLE_WIDE]
    raised += [f for record in run.evaluations.values() for result in record.results for f in result.flags]
    said = [text for text in run.error.splitlines() if text.strip()]
    return Line(
        name=run.name,
        state=run.state,
        label=label,
        error=printable(said[-1]) if said else "",
        clean=clean.accuracy if clean else None,
        robust=robust.accuracy if robust else None,
        against=robust.name if robust else "",
        flags=tuple(dict.fromkeys(raised)),
        changed=changed,
        weights=weights,
    )


def numbers(run: RunRecord) -> tuple[AttackResult | None, AttackResult | None]:
    """Clean accuracy and the worst over the attacks that saw every image, of the best checkpoint or the first there is."""
    record = run.evaluations.get("best") or next(iter(run.evaluations.values()), None)
    clean = record.result("clean") if record else None
    if record is None or clean is None or not clean.total:
        return None, None
    attacks = [r for r in record.results if r is not clean and "@" not in r.name and r.total == clean.total]
    return clean, min(attacks, key=lambda result: result.accuracy, default=None)


def labels(shape: Shape | None, runs: Sequence[RunRecord]) -> Mapping[int, str]:
    """What a sweep's rows call its runs, by their `id`."""
    try:
        groups = gather(shape.rows, runs) if shape else ()
    except InputError:
        return {}
    return {
        id(run): f"{group.label}, seed {run.config.get('seed')}" if len(group.runs) > 1 else group.label
        for group in groups
        for run in group.runs
    }


def total(counts: Iterable[Coverage]) -> Coverage:
    """All of them together."""
    counts = list(counts)
    return Coverage(*(sum(getattr(count, field.name) for count in counts) for field in fields(Coverage)))


def tally(counts: Iterable[Mapping[str, int]]) -> str:
    """How many candidates there are and in which states, in words; empty without any."""
    states: Counter[str] = Counter()
    for count in counts:
        states.update(count)
    if not states:
        return ""
    said = ", ".join(f"{number:,} {state}" for state, number in states.items())
    return f"{states.total():,} candidates of searches: {said}"
