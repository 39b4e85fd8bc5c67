"""Adversarial images of one network shown to another."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advarch.evaluation import sanity
from advarch.evaluation.counted import Counted, check_logits, check_weights
from advarch.evaluation.outcomes import wilson
from advarch.evaluation.probes import refuse_train_mode
from advarch.evaluation.verify import allowed, full_precision, predictions
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, derive_seed
from advarch.threat import Threat
from advarch.types import Attack, Batch

CONVENTION = "on the images that source and target both classify right without an attack"


@dataclass(frozen=True)
class Pair:
    """One cell: the target keeps its label on `correct` of the `total` images that both classify right."""

    source: str
    target: str
    correct: int
    total: int
    low: float | None
    high: float | None
    flags: tuple[str, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """Share of images that keep their label; None where there is no image."""
        return self.correct / self.total if self.total else None


@dataclass(frozen=True)
class TransferRecord:
    """The source x target matrix of one attack, pair by pair; a pair of a network with itself is the white-box attack."""

    attack: str
    dataset: str
    norm: str
    eps: float
    images: int
    clean: dict[str, int]
    pairs: tuple[Pair, ...]
    convention: str = CONVENTION
    schema: int = 1


def transfer(
    networks: Mapping[str, nn.Module],
    batches: Iterable[Batch],
    name: str,
    attack: Attack,
    *,
    dataset: str,
    threat: Threat,
    seed: int,
    classes: int,
    step: Callable[[int], None] | None = None,
) -> TransferRecord:
    """Every network attacks, every network answers.

    A source is attacked on the images that it classifies right, once; each target then answers in single precision. A pair
    counts the images that source and target both classify right: what a target gets wrong anyway says nothing about
    transfer, nor does an image that no attack on the source was needed for. A point that is not allowed fools nobody.

    Args:
        networks: name -> network, all for the same images and classes.
        batches: test images.
        name: of the attack, part of its random streams.
        attack: run on each source.
        dataset: its name, for the record.
        threat: the ball.
        seed: of the random streams, the same as in an evaluation: the diagonal is the column of that name.
        classes: of the dataset.
        step: called after each batch with the number of images done so far.

    Raises:
        InputError: a network that can't be used.
    """
    right: dict[str, list[Tensor]] = {network: [] for network in networks}
    kept: dict[tuple[str, str], list[Tensor]] = {(s, t): [] for s in networks for t in networks}
    done = 0
    for network in networks.values():
        check_weights(network)
    for batch in batches:
        answers: dict[str, Tensor] = {}
        for target, network in networks.items():
            with attack_mode(network, "eval"), full_precision(), torch.no_grad():
                refuse_train_mode(network)
                logits = network(batch.x)
                check_logits(logits, batch.x, classes)
            answers[target] = logits.argmax(1) == batch.y
            right[target].append(answers[target].cpu())
        for source, network in networks.items():
            x_adv = _crafted(network, batch, answers[source], name, attack, threat, seed)
            for target, other in networks.items():
                with attack_mode(other, "eval"), full_precision():
                    kept[source, target].append((predictions(other, x_adv) == batch.y).cpu())
        done += len(batch.x)
        if step is not None:
            step(done)
    known = {network: torch.cat(parts) for network, parts in right.items()}
    stood = {pair: torch.cat(parts) for pair, parts in kept.items()}
    return TransferRecord(
        attack=name,
        dataset=dataset,
        norm=str(threat.norm),
        eps=threat.eps,
        images=done,
        clean={network: int(answer.sum()) for network, answer in known.items()},
        pairs=tuple(_pair(source, target, known, stood) for source in networks for target in networks),
    )


def _crafted(
    network: nn.Module, batch: Batch, standing: Tensor, name: str, attack: Attack, threat: Threat, seed: int
) -> Tensor:
    """The batch with adversarial images in place of those that the source classifies right."""
    x, y = batch.x[standing], batch.y[standing]
    generator = ExampleGenerator(derive_seed(seed, "evaluation", name), batch.index[standing])
    x_adv = batch.x.clone()
    if len(x):
        with attack_mode(network, "eval"):
            points = attack(Counted(network), x, y, generator=generator).detach()
        valid = allowed(points, x, threat)
        x_adv[standing] = torch.where(valid[:, None, None, None], points, x)
    return x_adv


def _pair(
    source: str, target: str, known: Mapping[str, Tensor], stood: Mapping[tuple[str, str], Tensor]
) -> Pair:
    """The cell of a pair.

    `transfer_beats_white_box`: raised if images made on the source fool the target on over 0.2 points (and more than one
    image) more than those made on the target itself, on the same images.
    """
    both = known[source] & known[target]
    transferred, own = stood[source, target][both].numpy(), stood[target, target][both].numpy()
    total, correct = int(both.sum()), int(transferred.sum())
    low, high = wilson(correct, total) if total else (None, None)
    flagged = source != target and total > 0 and sanity.beats(transferred, own)
    return Pair(source, target, correct, total, low, high, ("transfer_beats_white_box",) if flagged else ())
