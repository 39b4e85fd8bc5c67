"""Queries per image: each attack's own account of whom it asks about, against counting that looks at the images themselves."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advarch.attacks.apgd import apgd
from advarch.attacks.apgd_t import apgd_t
from advarch.attacks.cw_l2 import cw_l2
from advarch.attacks.cw_linf import cw_linf
from advarch.attacks.deepfool import deepfool
from advarch.attacks.fab import fab, fab_t
from advarch.attacks.fgsm import fgsm
from advarch.attacks.gama import gama
from advarch.attacks.mim import mim
from advarch.attacks.pgd import pgd
from advarch.attacks.rfgsm import rfgsm
from advarch.attacks.sequence import sequence
from advarch.attacks.square import square
from advarch.evaluation.counted import Counted
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import (
    Outcome,
    load_outcomes,
    result,
    save_outcomes,
    worst_case,
)
from advarch.evaluation.suite import parts
from advarch.noise import ExampleGenerator
from advarch.threat import Threat
from advarch.types import Attack, Batch
from tests.evaluation import nets

EPS = 0.08
THREAT = Threat("inf", EPS)
STOPPING: dict[str, Any] = {"threat": THREAT, "steps": 8, "step_size": EPS / 4, "stop_on_success": True}
ATTACKS: dict[str, Attack] = {
    "fgsm": partial(fgsm, threat=THREAT),
    "rfgsm": partial(rfgsm, threat=THREAT, random_step=EPS / 2),
    "pgd": partial(pgd, threat=THREAT, steps=6, step_size=EPS / 4),
    "pgd_stopping": partial(pgd, **STOPPING),
    "pgd_restarts": partial(pgd, restarts=3, **STOPPING),
    "mim_stopping": partial(mim, **STOPPING),
    "cw_linf": partial(cw_linf, restarts=2, **STOPPING),
    "gama": partial(gama, weight_steps=3, reference="start", restarts=2, **STOPPING),
    "apgd": partial(apgd, threat=THREAT, steps=12, step_size=2 * EPS, restarts=2),
    "apgd_t": partial(apgd_t, threat=THREAT, steps=8, step_size=2 * EPS, max_rows=40),
    "fab": partial(fab, threat=THREAT, steps=6, restarts=2),
    "fab_t": partial(fab_t, threat=THREAT, steps=6, max_rows=40),
    "cw_l2": partial(cw_l2, threat=THREAT, steps=60, search_steps=3, initial_c=1.0),
    "deepfool": partial(deepfool, threat=THREAT, steps=8),
}


class Remembering(nn.Module):
    """Keeps every batch it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nets.sound_net()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        return self.net(x)


def whose(seen: Tensor, x: Tensor) -> Tensor:
    """The only image within reach of each point; the attack may have moved it, but not as far as to another."""
    distance = torch.cdist(seen.flatten(1), x.flatten(1), p=torch.inf)
    nearest, place = distance.topk(2, largest=False, dim=1)
    assert (nearest[:, 0] < nearest[:, 1]).all()
    return place[:, 0]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_an_attack_says_is_what_the_network_saw(name: str) -> None:
    net = Remembering()
    x, y = (t[:30] for t in nets.digits())
    counted = Counted(net)
    counted.watch(x)
    ATTACKS[name](counted, x, y, generator=ExampleGenerator(0, torch.arange(30)))
    asked = counted.watched()
    truth = sum(torch.bincount(whose(points, x), minlength=30) for points in net.seen)
    assert torch.equal(asked.long(), truth)
    assert counted.queries == int(truth.sum())
    if "restarts" in name or name in ("pgd_stopping", "apgd", "apgd_t", "fab_t", "cw_linf", "gama"):
        assert len(asked.unique()) > 2, "no image left early, so nothing was tested"


def test_square_tells_its_queries_until_success() -> None:
    x, y = (t[:30] for t in nets.digits())
    net = nets.sound_net()
    wide = Threat("inf", 0.2)
    attack = partial(square, threat=wide, queries=200)
    counted = Counted(net)
    counted.watch(x)
    x_adv = attack(counted, x, y, generator=ExampleGenerator(0, torch.arange(30)))
    asked = counted.watched()
    with torch.no_grad():
        right, fooled = net(x).argmax(1) == y, net(x_adv).argmax(1) != y
    # The start and every proposal: who never falls has asked them all, who was wrong from the beginning none.
    assert (asked[~right] == 0).all() and (asked[right & ~fooled] == 201).all()
    chosen = (right & fooled).nonzero().squeeze(1)
    assert len(chosen) > 5 and (asked[chosen] < 201).all()
    # With as many queries as it says, and no fewer, it succeeds. (The window's schedule does not depend on the number.)
    for row in chosen[:5].tolist():
        own = ExampleGenerator(0, torch.tensor([row]))
        queries = int(asked[row]) - 1
        for allowed, falls in ((queries, True), (queries - 1, False)):
            if allowed < 0:
                continue
            found = square(net, x[[row]], y[[row]], threat=wide, queries=allowed, generator=own)
            with torch.no_grad():
                assert bool((net(found).argmax(1) != y[row]).all()) is falls


def column(attack: Attack, size: int = 32, *, bf16: bool = False) -> Outcome:
    x, y = (t[:100] for t in nets.digits())
    batches = [
        Batch(*b) for b in zip(x.split(size), y.split(size), torch.arange(100).split(size), strict=True)
    ]
    clean = Outcome.unknown(np.arange(100))
    evaluate(nets.sound_net(), batches, Run("clean", None, THREAT, 0), clean)
    assert (clean.queries == 1).all()
    outcome = Outcome.unknown(np.arange(100), tuple(parts(attack)))
    standing = clean.correct == 1
    evaluate(nets.sound_net(), batches, Run("a", attack, THREAT, 0, bf16), outcome, standing=standing)
    assert (outcome.queries[~standing] == 0).all() and (outcome.queries[standing] != 0).all()
    return outcome


def test_a_column_keeps_them_and_says_mean_and_median() -> None:
    outcome = column(ATTACKS["pgd"])
    found = result("a", outcome, "")
    assert outcome.queries.dtype == np.int32 and set(outcome.queries[outcome.queries > 0]) == {6}
    assert found.mean_queries == found.median_queries == 6.0
    # The column's own count has the two passes of the verification besides.
    assert found.queries == (6 + 2) * found.attacked
    both = worst_case([outcome, column(ATTACKS["fgsm"])])
    assert set(both.queries) == {0, 7}


@pytest.mark.parametrize("bf16", [False, True])
def test_a_sequence_adds_up_its_parts_and_the_batch_does_not_matter(bf16: bool) -> None:
    attack = partial(sequence, attacks={n: ATTACKS[n] for n in ("fgsm", "pgd")})
    outcome = column(attack, bf16=bf16)
    assert set(outcome.queries) >= {0, 1, 7}
    if not bf16:
        assert set(outcome.queries) == {0, 1, 7}
        fell_first = outcome.felled_by == 0
        assert (outcome.queries[fell_first] == 1).all()
        assert np.array_equal(outcome.queries, column(attack, size=17).queries)


def test_an_attack_that_does_not_say_leaves_them_unknown() -> None:
    def silent(model: Any, x: Tensor, y: Tensor, /, **settings: Any) -> Tensor:
        model(x[:1])
        return x

    outcome = column(silent)
    assert set(outcome.queries) == {0, -1}
    found = result("a", outcome, "")
    assert found.mean_queries is None and found.median_queries is None and found.queries > 0


def test_a_file_without_them_is_read_and_not_run_again(tmp_path: Any) -> None:
    outcome = column(ATTACKS["pgd"])
    path = tmp_path / "outcomes.npz"
    with path.open("wb") as file:
        save_outcomes({"last/a": outcome}, {"last/a": "digest"}, file)
    (again,), settings = load_outcomes(path)[0].values(), load_outcomes(path)[1]
    assert np.array_equal(again.queries, outcome.queries) and settings == {"last/a": "digest"}
    with np.load(path) as arrays:
        old = {name: arrays[name] for name in arrays.files if not name.endswith("/queries")}
    # Nor did it say how many images were attacked on a copy.
    old |= {name: old[name][..., :-1] for name in old if name.endswith("cost")}
    np.savez(path, **old)
    (before,) = load_outcomes(path)[0].values()
    assert before.complete and (before.queries == -1).all() and before.queries.dtype == np.int32
    assert result("a", before, "").mean_queries is None and result("a", before, "").copied == 0
    assert np.array_equal(before.cost, outcome.cost)
