"""The transfer matrix, against the same written plainly."""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.evaluation.evaluate import Run, evaluate
from advarch.evaluation.outcomes import RIGHT, Outcome, wilson
from advarch.evaluation.pairs import Pair, TransferRecord
from advarch.evaluation.transfer import transfer
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from advarch.types import Batch
from tests.evaluation import nets

THREAT = Threat("inf", 0.1)
ATTACK = partial(pgd, threat=THREAT, steps=5, step_size=0.03)


class Shifted(nets.Sick):
    """Looks at the picture one pixel to the right."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.roll(1, 3))


def matrix(networks: dict[str, nn.Module], size: int) -> TransferRecord:
    x, y = nets.digits()
    x, y = x[:100], y[:100]
    batches = [
        Batch(*b) for b in zip(x.split(size), y.split(size), torch.arange(100).split(size), strict=True)
    ]
    return transfer(networks, batches, "pgd", ATTACK, dataset="digits", threat=THREAT, seed=0, classes=10)


def test_every_pair_counts_what_both_classify_right() -> None:
    networks: dict[str, nn.Module] = {"plain": nets.sound_net(), "shifted": Shifted().eval()}
    record = matrix(networks, 100)
    x, y = nets.digits()
    x, y = x[:100], y[:100]
    pairs = {(p.source, p.target): p for p in record.pairs}
    with torch.no_grad():
        right = {name: net(x).argmax(1) == y for name, net in networks.items()}
    assert record.clean == {name: int(r.sum()) for name, r in right.items()}
    assert 10 < record.clean["shifted"] < record.clean["plain"]
    for source, net in networks.items():
        generator = ExampleGenerator(derive_seed(0, "evaluation", "pgd"), torch.arange(100))
        x_adv = ATTACK(net, x, y, generator=generator)
        for target, other in networks.items():
            both = right[source] & right[target]
            with torch.no_grad():
                stands = other(x_adv).argmax(1) == y
            pair = pairs[source, target]
            assert (pair.correct, pair.total) == (int(stands[both].sum()), int(both.sum()))
            assert (pair.standing, pair.images) == (int((stands & right[target]).sum()), 100)
            assert (pair.low, pair.high) == wilson(pair.standing, 100)
            assert pair == record.pair(source, target)
    assert matrix(networks, 33) == record


def test_the_diagonal_is_the_white_box_column() -> None:
    import numpy as np

    record = matrix({"plain": nets.sound_net(), "other": Shifted().eval()}, 50)
    x, y = nets.digits()
    batch = [Batch(x[:100], y[:100], torch.arange(100))]
    clean, column = Outcome.unknown(np.arange(100)), Outcome.unknown(np.arange(100))
    evaluate(nets.sound_net(), batch, Run("clean", None, THREAT, 0), clean)
    evaluate(nets.sound_net(), batch, Run("pgd", ATTACK, THREAT, 0), column, standing=clean.correct == RIGHT)
    assert record.pairs[0].correct == record.pairs[0].standing == int(column.correct.sum())


def test_transfer_that_beats_the_white_box_is_flagged() -> None:
    # The quantised network hides its slope; images made on the network behind it fool it all the same.
    found = {
        (p.source, p.target): p
        for p in matrix({"plain": nets.sound_net(), "masked": nets.Quantised()}, 100).pairs
    }
    assert found["plain", "masked"].flags == ("transfer_beats_white_box",)
    assert not found["masked", "plain"].flags and not found["plain", "plain"].flags
    empty = Pair("a", "b", 0, 9, 0.0, 0.3, 0, 0)
    assert empty.kept is None and empty.accuracy == 0


def test_sources_may_answer_nothing_and_targets_attack_nothing() -> None:
    networks: dict[str, nn.Module] = {"plain": nets.sound_net(), "shifted": Shifted().eval()}
    whole = matrix(networks, 100)
    x, y = (t[:100] for t in nets.digits())
    part = transfer(
        networks,
        [Batch(x, y, torch.arange(100))],
        "pgd",
        ATTACK,
        dataset="digits",
        threat=THREAT,
        seed=0,
        classes=10,
        sources=["shifted"],
        targets=["plain"],
    )
    # The flag compares with the target's own images, and there are none.
    assert part.pairs == (replace(whole.pair("shifted", "plain"), flags=()),)
    assert part.clean == whole.clean
