"""Attack a network with one attack after the other and keep the outcome of every image."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from advarch.attacks.fab import fab, fab_t
from advarch.evaluation import suite
from advarch.evaluation.compiled import compiled
from advarch.evaluation.copied import copied
from advarch.evaluation.counted import Counted, check_examples, check_logits
from advarch.evaluation.judged import judged_attack, measured_in
from advarch.evaluation.outcomes import RIGHT, UNKNOWN, WRONG, Outcome, added
from advarch.evaluation.probes import refuse_train_mode
from advarch.evaluation.verify import full_precision
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, Generator, child, derive_seed, pick
from advarch.threat import Threat
from advarch.types import Attack, Batch

Keep = Callable[[np.ndarray, Tensor, Tensor, Tensor, Tensor], None]
"""(positions in the outcome, x, y, x_adv, fooled): what is done with adversarial images."""


@dataclass(frozen=True)
class Run:
    """How a column is run.

    name: part of the random streams. A grid's columns share their attack's: 200 steps begin with the 100 steps.
    attack: None evaluates the clean images.
    threat: the ball.
    seed: of the random streams.
    bf16: search in bfloat16; verdicts are fp32 all the same.
    compile, fast: search on the compiled network, on a copy that is cheaper to attack; verdicts are of the network itself.
    """

    name: str
    attack: Attack | None
    threat: Threat
    seed: int
    bf16: bool = False
    compile: bool = False
    fast: bool = False


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    run: Run,
    outcome: Outcome,
    *,
    standing: np.ndarray | None = None,
    save: Callable[[], None] | None = None,
    keep: Keep | None = None,
    classes: int | None = None,
) -> None:
    """Fill `outcome` for the images that are not evaluated yet.

    An image that is misclassified without any attack counts as misclassified and is not attacked: it lies inside its own
    ball. Each image draws from its own random stream, a function of (seed, attack, index), so neither batch size nor order
    nor a kill in between changes the outcome. Every verdict is `verify`'s: single precision, at two batch sizes.

    Args:
        model: images in [0, 1] -> logits; put in eval mode here and back afterwards.
        batches: the test images, with their indices; those that the outcome is not about are passed over.
        run: the column.
        outcome: filled in place.
        standing: per image of the outcome, whether it is to be attacked; the others count as misclassified. Needed with an
            attack.
        save: called after each batch.
        keep: is given the adversarial images of each batch.
        classes: how many the labels have; None does not check labels and logits.

    Raises:
        InputError: images, labels or logits that can't be used, or a network that stays in training mode.
    """
    counted = Counted(model, bf16=run.bf16, fast=compiled(model) if run.compile else None)
    order = np.argsort(outcome.index)
    seen, copies = 0, run.fast and not run.compile
    with attack_mode(counted, "eval"):
        refuse_train_mode(model)
        for x, y, index in batches:
            seen += len(x)
            positions, inside = _positions(outcome.index, order, index.cpu().numpy())
            if classes is not None:
                check_examples(x, y, classes)
            if not inside.any() or not (outcome.correct[positions] == UNKNOWN).any():
                continue
            if not inside.all():
                chosen = torch.from_numpy(inside).to(x.device)
                x, y, index = x[chosen], y[chosen], index[chosen]
            began, before = time.perf_counter(), (counted.queries, counted.forwards)
            if run.attack is None:
                _clean(counted, x, y, outcome, positions, classes)
            else:
                assert standing is not None
                counted.fast, copies = copied(model, x, run.bf16) if copies else counted.fast, False
                _attack(counted, run, Batch(x, y, index), outcome, positions, standing[positions], keep)
            outcome.add(
                queries=counted.queries - before[0],
                forwards=counted.forwards - before[1],
                seconds=time.perf_counter() - began,
            )
            if save is not None:
                save()
    if not seen:
        check_examples(torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.long), 1)


def _positions(known: np.ndarray, order: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where those of the images that the outcome is about stand in it, and which of the batch they are."""
    place = np.searchsorted(known, index, sorter=order).clip(max=len(known) - 1)
    positions = order[place]
    inside = known[positions] == index
    return positions[inside], inside


def _clean(
    counted: Counted, x: Tensor, y: Tensor, outcome: Outcome, positions: np.ndarray, classes: int | None
) -> None:
    with full_precision(), torch.no_grad():
        logits = counted(x)
        if classes is not None:
            check_logits(logits, x, classes)
        right = logits.argmax(1) == y
    outcome.correct[positions] = np.where(right.cpu().numpy(), RIGHT, WRONG)
    outcome.queries[positions] = 1


def _attack(
    counted: Counted,
    run: Run,
    batch: Batch,
    outcome: Outcome,
    positions: np.ndarray,
    standing: np.ndarray,
    keep: Keep | None,
) -> None:
    """One batch: each part of the attack sees the images that the parts before it left."""
    assert run.attack is not None
    chosen = torch.from_numpy(standing).to(batch.x.device)
    x, y = batch.x[chosen], batch.y[chosen]
    kept = positions[standing]
    generator = ExampleGenerator(derive_seed(run.seed, "evaluation", run.name), batch.index[chosen])
    active = torch.arange(len(x), device=x.device)
    x_final, all_fooled = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    distances = np.full(len(kept), np.nan, np.float32)
    queries = np.zeros(len(kept), np.int32)
    felled = np.full(len(kept), -1, np.int8)
    for number, (part, attack) in enumerate(suite.parts(run.attack).items()):
        if not len(active):
            break
        own: Generator = child(generator, part) if part else generator
        began, before = time.perf_counter(), counted.forwards
        judged = judged_attack(counted, attack, run.threat, x[active], y[active], pick(own, active))
        x_final[active] = judged.points
        rows, fell = active.cpu().numpy(), judged.fooled.cpu().numpy()
        queries[rows] = added(queries[rows], judged.asked)
        # In a sequence only a distance that counted is reported: a later part may come closer.
        distances[rows] = np.where(fell, judged.distance, np.float32(np.nan)) if part else judged.distance
        felled[rows[fell]] = number
        all_fooled[active[judged.fooled]] = True
        outcome.add(searched=judged.searched, invalid=judged.invalid, unstable=judged.unstable)
        if part:
            seconds = time.perf_counter() - began
            outcome.part_cost[number, 1:4] += (counted.forwards - before, seconds, len(active))
        active = active[~judged.fooled]
    outcome.add(attacked=len(x), copied=len(x) if counted.fast is not None and not run.compile else 0)
    outcome.correct[positions] = WRONG
    outcome.correct[kept] = np.where(all_fooled.cpu().numpy(), WRONG, RIGHT)
    outcome.distance[kept] = distances
    outcome.queries[positions] = 0
    outcome.queries[kept] = queries
    if outcome.parts:
        outcome.felled_by[kept] = felled
    if keep is not None:
        keep(kept, x, y, x_final, all_fooled)


def note(attack: Attack | None, threat: Threat) -> str:
    """What a reader of the column must know about the attack."""
    if attack is None:
        return ""
    if suite.minimum_norm(attack):
        norm = "l_inf" if measured_in(attack, threat).linf else "l_2"
        return f"minimum-norm: distances ({norm}) are of the unclipped point, accuracy after clipping to the ball"
    if suite.function_name(attack) in (fab.__name__, fab_t.__name__):
        return "minimum-norm: points beyond the ball do not count, distances are of those within"
    return ""
