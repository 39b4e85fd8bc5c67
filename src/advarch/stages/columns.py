"""The columns of one network: each run where it is not there yet, saved as it grows, and gathered into a record."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advarch.datasets.splits import stratified
from advarch.evaluation import gallery, outcomes, sanity
from advarch.evaluation.counted import check_weights
from advarch.evaluation.evaluate import Keep, Run, evaluate, note
from advarch.evaluation.outcomes import RIGHT, UNKNOWN, Outcome
from advarch.evaluation.probes import PROBE_IMAGES, probe
from advarch.evaluation.suite import Suite, parts, vary
from advarch.evaluation.transfer import transferred
from advarch.noise import derive_seed
from advarch.records import AttackResult, EvalRecord
from advarch.runs.columns import CLEAN, WORST, ColumnPlan
from advarch.runs.config import Config
from advarch.stages.progressing import Progressing, Work, gradients
from advarch.stages.shares import OutcomeFile
from advarch.threat import Threat
from advarch.types import Attack, Batch


@dataclass(frozen=True)
class Bench:
    """What every checkpoint is attacked with: the suite, the images, and where results are kept."""

    config: Config
    suite: Suite
    threat: Threat
    columns: Mapping[str, ColumnPlan]
    loader: Iterable[Batch]
    index: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    image_shape: tuple[int, int, int]
    dataset: str
    folder: Path
    seed: int
    network_of: Callable[[str], nn.Module] | None = None
    """The network of a source's run folder, for columns of images made on another network."""
    chosen_on: np.ndarray | None = None
    """The bytes of the images that chose the checkpoint `best`, and of those evaluated; None where they are not at hand."""
    evaluated: np.ndarray | None = None
    own: Iterable[Batch] | None = None
    """The batches that this process attacks, and which of `index` they are; None: all."""
    own_index: np.ndarray | None = None

    def batches(self) -> Iterable[Batch]:
        """What this process attacks."""
        return self.loader if self.own is None else self.own

    def mine(self, outcome: Outcome) -> np.ndarray:
        """Which of a column's images are this process's."""
        return np.isin(outcome.index, self.index if self.own_index is None else self.own_index)


def works(bench: Bench, checkpoints: Iterable[str]) -> dict[str, Work]:
    """What each column of each checkpoint has to do in this process, by checkpoint/column, in order."""
    return {
        f"{checkpoint}/{name}": Work(_own(bench, _index(bench, column)), gradients(column), column.settings)
        for checkpoint in checkpoints
        for name, column in bench.columns.items()
        if name != WORST
    }


def _own(bench: Bench, index: np.ndarray) -> int:
    return len(index) if bench.own_index is None else int(np.isin(index, bench.own_index).sum())


def run_columns(
    bench: Bench, model: nn.Module, checkpoint: str, file: OutcomeFile, progressing: Progressing
) -> EvalRecord | None:
    """Run the columns of one network that are not there yet, and gather all of them; None but in the first process.

    Raises:
        InputError: a network or images that can't be used.
    """
    check_weights(model)
    found: dict[str, Outcome] = {}
    before, bf16 = CLEAN, bench.suite.precision == "bf16"
    fast = bench.suite.fast and bench.config.get("trainer", {}).get("fast") is not False
    shown: tuple[str, list[gallery.Example]] = ("", [])
    for name, column in bench.columns.items():
        if name == WORST:
            continue
        key = f"{checkpoint}/{name}"
        attack = _bound(bench, column)
        index = _index(bench, column)
        outcome = file.take(key, column.settings, index, tuple(parts(attack)) if attack else ())
        mine = bench.mine(outcome)
        if (outcome.correct[mine] == UNKNOWN).any():
            keep, examples = _keeper(bench, key, len(index))
            threat = replace(bench.threat, eps=column.varied.get("eps", bench.threat.eps))
            standing = None if attack is None else _right(found[before], index)
            evaluate(
                model,
                bench.batches(),
                Run(column.attack or name, attack, threat, bench.seed, bf16, bench.suite.compile, fast),
                outcome,
                standing=standing,
                save=progressing.step(file, key, mine, standing),
                keep=keep,
                classes=len(bench.classes),
            )
            file.save()
            shown = (name, examples) if examples else shown
        found[name] = outcome
        before = name if bench.suite.worst_case else CLEAN
        progressing.done += int(mine.sum())
    if file.place.rank:
        return None
    file.gather([f"{checkpoint}/{name}" for name in found], progressing.stop.check)
    if shown[1]:
        title = f"{checkpoint}: {shown[0]} on {bench.dataset}"
        gallery.draw(bench.folder / "gallery.png", shown[1], title, bench.classes)
    return _record(bench, model, checkpoint, found)


def _bound(bench: Bench, column: ColumnPlan) -> Attack | None:
    """The column's attack with its settings; None for the clean images."""
    if not column.attack:
        return None
    attack = vary(bench.suite.attacks[column.attack], column.varied)
    if not column.source:
        return attack
    assert bench.network_of is not None, "only an experiment's suite has columns with a source"
    # Loaded only when there is something left to do.
    return partial(transferred, source=partial(bench.network_of, column.source), attack=attack)


def _index(bench: Bench, column: ColumnPlan) -> np.ndarray:
    """The test images that a column is about: all, or a random share, the same for every network of one seed."""
    if column.share is None:
        return bench.index
    count = max(1, round(column.share * len(bench.index)))
    chosen = stratified(bench.labels, count=count, seed=derive_seed("share", bench.seed))
    return np.sort(bench.index[chosen])


def _right(outcome: Outcome, index: np.ndarray) -> np.ndarray:
    """Which of these images an outcome left standing."""
    order = np.argsort(outcome.index)
    place = order[np.searchsorted(outcome.index, index, sorter=order)]
    right: np.ndarray = outcome.correct[place] == RIGHT
    return right


def _keeper(bench: Bench, key: str, count: int) -> tuple[Keep | None, list[gallery.Example]]:
    """What keeps a column's adversarial images, and the list that it fills for the gallery."""
    suite, shown = bench.suite, []  # type: Suite, list[gallery.Example]
    if key.endswith(f"/{CLEAN}") or not (suite.save_images or suite.gallery):
        return None, shown
    path = bench.folder / "images" / f"{key}.npy"
    images = gallery.open_images(path, count, bench.image_shape) if suite.save_images else None

    def keep(positions: np.ndarray, x: Tensor, y: Tensor, x_adv: Tensor, fooled: Tensor) -> None:
        if images is not None:
            images[positions] = x_adv.float().cpu().numpy()
            images.flush()  # type: ignore[attr-defined]  # a memory map
        if len(shown) < suite.gallery:
            shown.extend(gallery.examples(x, y, x_adv, fooled, suite.gallery - len(shown)))

    return keep, shown


def _record(bench: Bench, model: nn.Module, checkpoint: str, found: dict[str, Outcome]) -> EvalRecord:
    """The columns as a record, with what they and the network are flagged for."""
    seen = [
        sanity.Seen(
            name,
            bench.columns[name].node,
            o.index,
            o.correct == RIGHT,
            o.lost_to(),
            bench.columns[name].source,
        )
        for name, o in found.items()
        if bench.columns[name].attack
    ]
    raised = sanity.relations(seen)
    if WORST in bench.columns:
        members = bench.columns[WORST].members
        # Where each attack saw only what was left, the last one's verdicts are the worst case already.
        found = {**found, WORST: outcomes.worst_case([found[name] for name in members])}
    results = []
    for name, outcome in found.items():
        column = bench.columns[name]
        attack = _bound(bench, column)
        said = _note(bench, column, note(attack, bench.threat))
        made = outcomes.result(name, outcome, column.settings, said)
        results.append(replace(made, flags=(*made.flags, *raised.get(name, ()))))
    flags = _probed(bench, model) if bench.suite.probe else ()
    if checkpoint == "best" and bench.chosen_on is not None and bench.evaluated is not None:
        flags += ("selected_on_test",) if sanity.selected_on_test(bench.chosen_on, bench.evaluated) else ()
    if len(bench.index) < sanity.FEW_IMAGES:
        flags += ("fewer_than_1000_images",)
    norm, eps = str(bench.threat.norm), bench.threat.eps
    return EvalRecord(checkpoint, bench.dataset, norm, eps, _in_order(results), flags)


def _in_order(results: Sequence[AttackResult]) -> tuple[AttackResult, ...]:
    return tuple(sorted(results, key=lambda result: (result.name != CLEAN, result.name == WORST)))


def _note(bench: Bench, column: ColumnPlan, said: str) -> str:
    notes = [said] if said else []
    reach = int(column.node.get("steps") or 0) * float(column.node.get("step_size") or 0.0)
    eps = float(column.varied.get("eps", bench.threat.eps))
    if 0 < reach < eps * (1 - 1e-6):
        notes.append(f"its steps add up to {reach:.3g}, less than the radius {eps:.3g}")
    if column.share is not None:
        notes.append(f"on a random {100 * column.share:g} % of the test images")
    if column.source:
        notes.append(f"images made on the network of {Path(column.source).name}")
    if column.members:
        notes.append(f"worst case per image of {', '.join(column.members)}")
    if bench.suite.worst_case and column.attack:
        attacks = [c.name for c in bench.columns.values() if c.attack]
        before = attacks[: attacks.index(column.name)]
        if before:
            notes.append(f"cumulative: saw only the images left by {', '.join(before)}")
    return "; ".join(notes)


def _probed(bench: Bench, model: nn.Module) -> tuple[str, ...]:
    """The network's flags on the first images of the test set."""
    x: list[Any] = []
    y: list[Any] = []
    for batch in bench.loader:
        x.append(batch.x)
        y.append(batch.y)
        if sum(map(len, x)) >= PROBE_IMAGES:
            break
    return probe(model, torch.cat(x), torch.cat(y), threat=bench.threat, seed=bench.seed)
