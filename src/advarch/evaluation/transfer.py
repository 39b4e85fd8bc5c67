"""Adversarial images of one network shown to another."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advarch.evaluation import sanity
from advarch.evaluation.counted import Counted, check_logits, check_weights
from advarch.evaluation.outcomes import wilson
from advarch.evaluation.pairs import Pair, TransferRecord
from advarch.evaluation.probes import refuse_train_mode
from advarch.evaluation.verify import allowed, full_precision, predictions
from advarch.modes import attack_mode
from advarch.noise import ExampleGenerator, Generator, derive_seed
from advarch.threat import Threat
from advarch.types import Attack, Batch


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
    sources: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    step: Callable[[int], None] | None = None,
) -> TransferRecord:
    """Every source is attacked, once, and every target is shown the images; it answers in single precision.

    Two counts of each pair: over all images, as papers do, where an image that the target gets wrong without an attack is
    wrong, as in every evaluation; and over the images that source and target both classify right, since what a target gets
    wrong anyway says nothing about transfer. A point that is not allowed fools nobody.

    Args:
        networks: name -> network, all for the same images and classes.
        batches: test images.
        name: of the attack, part of its random streams.
        attack: run on each source.
        dataset: its name, for the record.
        threat: the ball.
        seed: of the random streams, the same as in an evaluation: the diagonal is the column of that name.
        classes: of the dataset.
        sources: names of those that are attacked; None: all.
        targets: names of those that answer; None: all.
        step: called after each batch with the number of images done so far.

    Raises:
        InputError: a network that can't be used.
    """
    sources, targets = tuple(sources or networks), tuple(targets or networks)
    for network in networks.values():
        check_weights(network)
    right: dict[str, list[Tensor]] = {network: [] for network in networks}
    kept: dict[tuple[str, str], list[Tensor]] = {(s, t): [] for s in sources for t in targets}
    done = 0
    for batch in batches:
        for label, network in networks.items():
            right[label].append(_clean(network, batch, classes))
        for source in sources:
            x_adv = _crafted(networks[source], batch, name, attack, threat, seed)
            for target in targets:
                with attack_mode(networks[target], "eval"), full_precision():
                    kept[source, target].append((predictions(networks[target], x_adv) == batch.y).cpu())
        done += len(batch.x)
        if step is not None:
            step(done)
    known = {network: torch.cat(parts) for network, parts in right.items()}
    stood = {pair: torch.cat(parts) for pair, parts in kept.items()}
    clean = {network: int(answer.sum()) for network, answer in known.items()}
    pairs = tuple(_pair(source, target, known, stood) for source in sources for target in targets)
    return TransferRecord(name, dataset, str(threat.norm), threat.eps, done, clean, sources, targets, pairs)


def _clean(network: nn.Module, batch: Batch, classes: int) -> Tensor:
    """Which images the network classifies right without an attack."""
    with attack_mode(network, "eval"), full_precision(), torch.no_grad():
        refuse_train_mode(network)
        logits = network(batch.x)
        check_logits(logits, batch.x, classes)
    return (logits.argmax(1) == batch.y).cpu()


def transferred(
    model: Any, x: Tensor, y: Tensor, *, source: Callable[[], nn.Module], attack: Attack, generator: Generator
) -> Tensor:
    """The attack's images made on the network `source()`, whatever `model` is: how a transfer becomes a column like any other."""
    del model
    network = source()
    with attack_mode(network, "eval"):
        refuse_train_mode(network)
        return attack(network, x, y, generator=generator)


def _crafted(
    network: nn.Module, batch: Batch, name: str, attack: Attack, threat: Threat, seed: int
) -> Tensor:
    """The batch's adversarial images; where a point is not allowed, the image itself."""
    generator = ExampleGenerator(derive_seed(seed, "evaluation", name), batch.index)
    points = transferred(
        None, batch.x, batch.y, source=lambda: Counted(network), attack=attack, generator=generator
    ).detach()
    valid = allowed(points, batch.x, threat)
    return torch.where(valid[:, None, None, None], points, batch.x)


def _pair(
    source: str, target: str, known: Mapping[str, Tensor], stood: Mapping[tuple[str, str], Tensor]
) -> Pair:
    """The cell of a pair.

    `transfer_beats_white_box`: raised if images made on the source fool the target on over 0.2 points (and more than one
    image) more than those made on the target itself, where that is a source too, on the images both classify right.
    """
    both, shown = known[source] & known[target], stood[source, target]
    standing, images = int((shown & known[target]).sum()), len(shown)
    total, correct = int(both.sum()), int(shown[both].sum())
    own = stood.get((target, target))
    flagged = (
        own is not None
        and source != target
        and total > 0
        and sanity.beats(shown[both].numpy(), own[both].numpy())
    )
    flags = ("transfer_beats_white_box",) if flagged else ()
    return Pair(source, target, standing, images, *wilson(standing, images), correct, total, flags)
