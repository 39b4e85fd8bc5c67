"""The columns a table can have: what each is called, its unit, and how one of its numbers is written."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from advarch.errors import InputError
from advarch.records import RunRecord
from advarch.reports.rows import pixels
from advarch.reports.shape import nearest

ACRONYMS = ("fgsm", "rfgsm", "pgd", "mim", "bim", "cw", "apgd", "fab", "gama", "aa")

TITLES = {
    "autoattack": "AutoAttack",
    "apgd_ce": "APGD-CE",
    "apgd_dlr": "APGD-DLR",
    "apgd_t": "APGD-T",
    "fab_t": "FAB-T",
    "square": "Square",
    "deepfool": "DeepFool",
    "cw_linf": "CW l∞",
    "cw_l2": "CW l2",
    "cw_l2_weak": "CW l2, weak",
}
"""Attacks whose name is no acronym with a number."""


@dataclass(frozen=True)
class Column:
    """One column. Numbers are shown as `value / scale` with `decimals` places, or with `digits` significant ones.

    `get` finds the number of a run at a checkpoint; it is None for an accuracy.
    """

    id: str
    title: str
    unit: str = ""
    scale: float = 1
    decimals: int = 0
    get: Callable[[RunRecord, str], float | None] | None = None
    digits: int | None = None

    @property
    def heading(self) -> str:
        """Title and unit, as a table's head shows them."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def show(self, value: float, *, more: int = 0) -> str:
        """The number as text, thousands separated; `more` decimals where it is a mean."""
        if self.digits is not None:
            return f"{value / self.scale:,.{self.digits}g}"
        return f"{value / self.scale:,.{self.decimals + more}f}"


def _seed(run: RunRecord, checkpoint: str) -> float | None:
    del checkpoint
    seed = run.config.get("seed")
    return seed if isinstance(seed, int | float) else None


OF_A_RUN = {
    "parameters": Column(
        "parameters", "parameters", get=lambda run, _: run.size.parameters if run.size else None
    ),
    "macs": Column("macs", "MACs", get=lambda run, _: run.size.macs if run.size else None),
    "best_epoch": Column(
        "best_epoch", "best epoch", get=lambda run, _: run.train.best_epoch if run.train else None
    ),
    "seconds": Column(
        "seconds", "training", "s", decimals=1, get=lambda run, _: run.train.seconds if run.train else None
    ),
    "epoch_seconds": Column(
        "epoch_seconds",
        "epoch",
        "s",
        decimals=1,
        get=lambda run, _: run.train.seconds / run.train.epochs if run.train else None,
    ),
    "images_per_second": Column(
        "images_per_second",
        "speed",
        "images/s",
        get=lambda run, _: run.train.images_per_second if run.train else None,
    ),
    "seed": Column("seed", "seed", get=_seed),
}


def read_columns(ids: Iterable[str], runs: Sequence[RunRecord]) -> tuple[Column, ...]:
    """The columns of those ids.

    Raises:
        InputError: an id that is neither a column of a run nor an attack of its evaluation.
    """
    return tuple(_column(identifier, runs) for identifier in ids)


def attack_title(name: str) -> str:
    """An attack's name as papers print it: pgd20 -> PGD-20, fgsm@eps=0.1 -> FGSM, eps=0.1; other names stay as they are."""
    name, at, varied = name.partition("@")
    if at:
        # PGD-100 with 7 steps is no PGD-100.
        named = name.rstrip("0123456789") if varied.startswith("steps=") else name
        said = re.sub(r"^eps=(0?\.\d+)$", lambda found: f"eps={pixels(float(found[1]))}", varied)
        return f"{attack_title(named)}, {said.replace('source=', 'made on ')}"
    match = re.fullmatch(r"([a-z]+)[_-]?(\d*)", name)
    if not match or match[1] not in ACRONYMS:
        return TITLES.get(name, name)
    return match[1].upper() + (f"-{match[2]}" if match[2] else "")


ANALYSIS = "analysis."
"""How the id of a column of the analysis begins: analysis.<measure>.<number>."""


def _column(identifier: str, runs: Sequence[RunRecord]) -> Column:
    if identifier.startswith(ANALYSIS):
        return _measured(identifier, runs)
    if identifier == "macs":
        return _macs(runs)
    if identifier in OF_A_RUN:
        return OF_A_RUN[identifier]
    attacks = _attacks(runs)
    known = [*OF_A_RUN, "clean", "worst", *attacks]
    # Before anything is evaluated no attack's name is known: then only a word that looks like a slip is refused.
    slip = difflib.get_close_matches(identifier, known, n=1, cutoff=0.8)
    if identifier not in known and not _varied(identifier, attacks) and (attacks or slip):
        raise InputError(f"expected a column of the table, came '{identifier}'; {nearest(identifier, known)}")
    return Column(identifier, attack_title(identifier), "%", decimals=2)


def _varied(identifier: str, attacks: Iterable[str]) -> bool:
    """Whether it is one of those attacks on another network or with what a grid varies: pgd20@eps=0.01."""
    name, _, varied = identifier.partition("@")
    return name in attacks and varied.partition("=")[0] in ("eps", "steps", "restarts", "source")


def _measured(identifier: str, runs: Sequence[RunRecord]) -> Column:
    """A number of an analysis, at the checkpoint of the row."""
    measure, _, number = identifier.removeprefix(ANALYSIS).partition(".")
    found = [
        result.numbers
        for run in runs
        for record in run.analyses.values()
        if (result := record.results.get(measure)) is not None and not result.skipped
    ]
    known = [f"{ANALYSIS}{measure}.{name}" for name in dict.fromkeys(name for each in found for name in each)]
    if not number or (known and identifier not in known):
        hint = nearest(identifier, known) if known else f"write {ANALYSIS}MEASURE.NUMBER"
        raise InputError(f"expected a number of the analysis, came '{identifier}'; {hint}")

    def get(run: RunRecord, checkpoint: str) -> float | None:
        record = run.analyses.get(checkpoint)
        result = record.results.get(measure) if record else None
        return result.numbers.get(number) if result else None

    return Column(identifier, f"{measure} {number}".replace("_", " "), digits=4, get=get)


def _attacks(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    """Names of attacks, as evaluated and as configured."""
    names: dict[str, None] = {}
    for run in runs:
        for record in run.evaluations.values():
            names |= dict.fromkeys(result.name for result in record.results if result.name != "clean")
        evaluation = run.config.get("evaluation")
        configured = evaluation.get("attacks") if isinstance(evaluation, dict) else None
        if isinstance(configured, dict):
            names |= dict.fromkeys(str(name) for name in configured)
        elif isinstance(configured, list):
            names |= dict.fromkeys(str(i["name"]) for i in configured if isinstance(i, dict) and "name" in i)
    return tuple(names)


def _macs(runs: Sequence[RunRecord]) -> Column:
    """MACs in the unit that suits the largest network; exact below a million."""
    largest = max((run.size.macs for run in runs if run.size), default=0)
    for unit, scale in (("G", 1e9), ("M", 1e6)):
        if largest >= scale:
            return Column("macs", "MACs", unit, scale, 3 if unit == "G" else 2, OF_A_RUN["macs"].get)
    return OF_A_RUN["macs"]
