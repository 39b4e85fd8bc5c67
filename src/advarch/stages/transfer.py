"""The transfer between the networks of run folders, a user's own among them."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from advarch.errors import InputError
from advarch.evaluation.pairs import TransferRecord
from advarch.evaluation.transfer import transfer
from advarch.records import Progress
from advarch.runs import weights
from advarch.runs.config import Config
from advarch.runs.networks import network_of_run, own_network
from advarch.stages.columns import Bench
from advarch.stages.evaluate import device_of


def matrices(
    config: Config,
    bench: Bench,
    folders: tuple[Mapping[str, str], Mapping[str, str]],
    own: tuple[str, str],
    *,
    report: Callable[[Progress], None],
) -> list[TransferRecord]:
    """The source x target matrix of every attack of the suite.

    Args:
        config: of the evaluation.
        bench: images and suite.
        folders: run folders by name, of sources and of targets; without targets the sources answer each other.
        own: a user's own network, as `own_network` takes it, and its weights; both may be empty. It is source and target.
        report: told how far it is.

    Raises:
        InputError: a network that can't be used.
    """
    sources, targets = folders
    checkpoint = bench.suite.checkpoints[0]
    networks = networks_of(config, bench, {**sources, **targets}, checkpoint)
    mine = [own[0].rpartition(":")[2]] if own[0] else []
    if mine:
        networks[mine[0]] = _own(config, bench, *own)
    found = []
    for name, attack in bench.suite.attacks.items():

        def step(done: int, name: str = name) -> None:
            report(Progress("transfer", done, len(bench.index), "images", None, name))

        found.append(
            transfer(
                networks,
                bench.loader,
                name,
                attack,
                dataset=bench.dataset,
                threat=bench.threat,
                seed=bench.seed,
                classes=len(bench.classes),
                sources=[*sources, *mine],
                targets=[*(targets or sources), *mine],
                step=step,
            )
        )
    return found


def networks_of(
    config: Config, bench: Bench, folders: Mapping[str, str], checkpoint: str
) -> dict[str, nn.Module]:
    """The run folders' networks by name.

    Raises:
        InputError: a folder without weights, or images without a known number of classes.
    """
    if not bench.classes:
        raise InputError(
            "images: expected a dataset for a transfer, came images without names of classes; set dataset="
        )
    shape = (len(bench.classes), bench.image_shape)
    device = device_of(config)
    return {name: network_of_run(Path(f), checkpoint, shape).to(device) for name, f in folders.items()}


def _own(config: Config, bench: Bench, model: str, weights_path: str) -> nn.Module:
    classes, channels = len(bench.classes), bench.image_shape[0]
    network = own_network(model, classes=classes, channels=channels, seed=config["seed"])
    if weights_path:
        weights.load_any(network, Path(weights_path))
    return network.to(device_of(config))
