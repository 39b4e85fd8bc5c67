"""The networks of a transfer: those of run folders, and a user's own beside them."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from advarch.errors import InputError
from advarch.runs import weights
from advarch.runs.config import Config
from advarch.runs.networks import network_of_run, own_network
from advarch.stages.columns import Bench
from advarch.stages.evaluate import device_of


def networks_of(
    config: Config, bench: Bench, sources: Sequence[Path], checkpoint: str, model: str, weights_path: str
) -> dict[str, nn.Module]:
    """Name -> network: the folder's name of a run, the factory's of a user's own.

    Raises:
        InputError: a folder without weights, two folders of one name, or images without a known number of classes.
    """
    if not bench.classes:
        raise InputError(
            "images: expected a dataset for a transfer, came images without names of classes; set dataset="
        )
    found: dict[str, nn.Module] = {}
    device = device_of(config)
    for source in sources:
        name = source.resolve().name
        if name in found:
            raise InputError(f"evaluation.sources: expected different run folders, came {name} twice")
        network = network_of_run(source, checkpoint, (len(bench.classes), bench.image_shape))
        found[name] = network.to(device)
    if model:
        own = own_network(model, classes=len(bench.classes), channels=bench.image_shape[0])
        if weights_path:
            weights.load_any(own, Path(weights_path))
        found[model.rpartition(":")[2]] = own.to(device)
    return found
