"""Whole evaluations: PGD-20 beside torchattacks, AutoAttack standard beside pyautoattack.

Ours is timed as a run does it: clean pass, attack, and the verification of every verdict at two batch sizes. Theirs is the
attack and one look at the labels it leaves.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from advarch.attacks.apgd import apgd
from advarch.attacks.apgd_t import apgd_t
from advarch.attacks.fab import fab_t
from advarch.attacks.pgd import pgd
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.bench.bench import Bench, Case
from advarch.bench.equal import unlike_verdicts
from advarch.bench.peers import absent
from advarch.bench.row import OURS, Row
from advarch.bench.sizes import Whole
from advarch.bench.standing import standing_row
from advarch.bench.timing import seconds
from advarch.bench.trained import HALF, plain_layout, right, subject
from advarch.evaluation.compiled import compiled
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import RIGHT, Outcome
from advarch.evaluation.suite import parts
from advarch.threat import Threat
from advarch.types import Attack, Batch

PEER, COMPILED = "pyautoattack", f"{OURS}, compiled"
PEER_COMPILED = f"{PEER}, ours compiled"

IMAGES = 10_000
"""Of the evaluation whose time is estimated: a test set."""


def cases(bench: Bench) -> Iterator[Case]:
    """PGD-20 on one network."""
    name = f"evaluation: PGD-20, {bench.sizes.trained} on {bench.sizes.data}"
    yield name, partial(_pgd_20, bench, name)


def autoattack_cases(bench: Bench) -> Iterator[Case]:
    """AutoAttack where many and where few images stand."""
    for title, whole in bench.sizes.whole.items():
        name = f"AutoAttack: {bench.sizes.trained} on {title}"
        yield name, partial(_autoattack, bench, name, whole)
    compiled.cache_clear()


def standard(threat: Threat, steps: int = 100, queries: int = 5000) -> Attack:
    """AutoAttack standard, as conf/attack/autoattack.yaml has it."""
    size = 2 * threat.eps
    return partial(
        sequence,
        attacks={
            "apgd_ce": partial(apgd, threat=threat, steps=steps, step_size=size),
            "apgd_t": partial(apgd_t, threat=threat, steps=steps, step_size=size),
            "fab_t": partial(fab_t, threat=threat, steps=steps),
            "square": partial(square, threat=threat, queries=queries),
        },
    )


def ours(
    net: nn.Module, x: Tensor, y: Tensor, *, attack: Attack, eps: float, bf16: bool, compile: bool = False
) -> Tensor:
    """Which images stand, as an evaluation finds them."""
    threat, batch = Threat("inf", eps), [Batch(x, y, torch.arange(len(x), device=x.device))]
    clean = Outcome.unknown(np.arange(len(x)))
    found = Outcome.unknown(np.arange(len(x)), tuple(parts(attack)))
    evaluate(net, batch, Run("clean", None, threat, 0), clean)
    run = Run("bench", attack, threat, 0, bf16=bf16, compile=compile, fast=True)
    evaluate(net, batch, run, found, standing=clean.correct == RIGHT)
    return torch.from_numpy(found.correct == RIGHT)


def estimated(seconds: float, standing: int) -> float | None:
    """Seconds for `IMAGES` of which the share `HALF` stands; None where none stood.

    seconds / standing * HALF * IMAGES: an image that stands takes the passes of all four attacks, one that falls a few of the
    first. What those that fell took is counted with those that stood, so fewer than half standing overestimates.
    """
    return seconds / standing * HALF * IMAGES if standing else None


def _pgd_20(bench: Bench, name: str) -> Row:
    found = subject(bench, bench.sizes.data)
    net, eps = found.network, found.half_radius
    x, y = found.images(bench.sizes.evaluated)
    threat = Threat("inf", eps)
    attack = partial(pgd, threat=threat, steps=20, step_size=eps / 10, stop_on_success=True)
    bf16 = bench.sizes.searching == "bf16"
    runs: dict[str, Callable[[], Tensor]] = {
        OURS: partial(ours, net, x, y, attack=attack, eps=eps, bf16=bf16)
    }
    gone = absent(["torchattacks"])
    if not gone:
        import torchattacks

        plain = plain_layout(net)
        peer = torchattacks.PGD(plain, eps=eps, alpha=eps / 10, steps=20)
        runs["torchattacks"] = lambda: right(plain, peer(x, y), y)
    return standing_row(bench, name, runs, len(x), notes=gone.values())


def _autoattack(bench: Bench, name: str, whole: Whole) -> Row:
    """Each once, after the compiler has done its work: they take long enough."""
    found = subject(bench, whole.data)
    net, (x, y) = found.network, found.images(whole.images)
    eps = found.half_radius if whole.eps is None else whole.eps
    mine = partial(ours, net, x, y, eps=eps, bf16=bench.sizes.searching == "bf16")
    attack = standard(Threat("inf", eps))
    runs: dict[str, Callable[[], Tensor]] = {OURS: partial(mine, attack=attack)}
    gone = absent([PEER])
    if not gone:
        runs[PEER] = partial(_theirs, plain_layout(net), x, y, eps)
    figures = {}
    if bench.sizes.compiled:
        short = standard(Threat("inf", eps), steps=2, queries=4)
        figures["compiling, s"] = seconds(partial(mine, attack=short, compile=True))
        runs[COMPILED] = partial(mine, attack=attack, compile=True)
    stands: dict[str, Tensor] = {}
    with _silence():
        taken = {who: seconds(partial(_noted, stands, who, run)) for who, run in runs.items()}
    return verdicts(name, taken, stands, figures, tuple(gone.values()), eps)


def verdicts(
    name: str,
    taken: Mapping[str, float],
    stands: Mapping[str, Tensor],
    figures: Mapping[str, float],
    notes: tuple[str, ...],
    eps: float,
) -> Row:
    """The row of an AutoAttack: a ratio to the peer for each way of ours whose verdict on every image is the peer's."""
    images, standing = len(stands[OURS]), int(stands[OURS].sum())
    found = {f"{who}, s per 100 images": 100 * value / images for who, value in taken.items()}
    whole = {who: estimated(value, standing) for who, value in taken.items()}
    found |= {
        f"{who}, {IMAGES:,} images of which half stand, estimated, min": value / 60
        for who, value in whole.items()
        if value is not None
    }
    differing = unlike_verdicts(stands, PEER) if PEER in stands else {}
    ratios = {
        PEER if who == OURS else PEER_COMPILED: taken[PEER] / taken[who]
        for who in (OURS, COMPILED)
        if PEER in taken and who in taken and who not in differing
    }
    told = (
        f"{standing} of {images} images stand at {eps:.3f}",
        *(f"{who}: no ratio to {PEER}, for {why}" for who, why in differing.items()),
        f"estimated: seconds / {standing} that stand x {HALF * IMAGES:,.0f}, for those that stand take almost all passes",
    )
    return Row(name, found | dict(figures), ratios, (*(told if standing else told[:-1]), *notes))


def _noted(stands: dict[str, Tensor], who: str, run: Callable[[], Tensor]) -> None:
    stands[who] = run().cpu()


def _theirs(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    from pyautoattack import AutoAttack

    reference = AutoAttack(net, norm="Linf", eps=eps, version="standard", seed=0, device=str(x.device))
    reference.verbose = False
    x_adv, _ = reference.run_standard_evaluation(x, y, batch_size=250)
    return right(net, x_adv, y)


@contextmanager
def _silence() -> Iterator[None]:
    """No lines of the peer's logger."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
