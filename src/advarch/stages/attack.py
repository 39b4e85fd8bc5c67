"""Attack a network that nobody trained here: the images, the network, and the columns of a suite."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from advarch.datasets.folders import whole_folder
from advarch.datasets.loaders import DeviceLoader
from advarch.datasets.splits import subset
from advarch.errors import InputError, said
from advarch.evaluation.counted import check_examples, check_logits, check_weights
from advarch.evaluation.suite import Suite
from advarch.modes import attack_mode
from advarch.records import EvalRecord
from advarch.runs import weights
from advarch.runs.build import load_data, make
from advarch.runs.columns import plan
from advarch.runs.config import Config
from advarch.runs.networks import own_network
from advarch.stages.columns import Bench
from advarch.stages.evaluate import device_of, evaluate_networks
from advarch.stages.job import Job
from advarch.types import Batch

PIXELS = 32
"""Height and width to which pictures of a folder are brought where the config's dataset does not say `image_size`."""

GIVEN = "given"
"""The checkpoint's name in the record: the weights are given, not chosen here."""


def prepare(
    config: Config, folder: Path, *, model: str, weights_path: str, images: str
) -> tuple[Bench, nn.Module]:
    """What is attacked with, and the network.

    Args:
        config: dataset, threat, evaluation and seed of it are used.
        folder: where results go.
        model: `file.py:factory` or `timm:NAME`.
        weights_path: file of weights; empty leaves the network as the factory made it.
        images: .npz with x and y, or a folder of pictures, <class>/*.png; empty takes the config's dataset.

    Raises:
        InputError: any of these can't be used.
    """
    bench = bench_of(config, folder, images)
    if len(bench.classes) == 1:
        raise InputError(
            f"images: expected at least two classes, came {bench.classes[0]} alone; a network can't be fooled among one"
        )
    classes = len(bench.classes) or None
    network = own_network(model, classes=classes, channels=bench.image_shape[0], seed=config["seed"])
    if weights_path:
        weights.load_any(network, Path(weights_path))
    device = device_of(config)
    network = network.to(device)
    check_weights(network)
    return replace(bench, classes=_outputs(network, bench)), network


def bench_of(config: Config, folder: Path, images: str = "") -> Bench:
    """The suite on the config's dataset, or on a user's own images (then without names of classes)."""
    suite: Suite = make("evaluation", config["evaluation"])
    device = device_of(config)
    if images and Path(images).is_dir():
        part, classes = whole_folder(Path(images), config["dataset"].get("image_size") or PIXELS)
        chosen = subset(part.y, limit=suite.limit)
        loader = DeviceLoader(
            part=part,
            indices=chosen,
            batch_size=suite.batch_size,
            device=device,
            shuffle=False,
            drop_last=False,
        )
        batches, name, labels = list(loader), Path(images).name, part.y[chosen]
        shape: tuple[int, ...] = part.image_shape
    elif images:
        batches, name = own_images(Path(images), suite.batch_size, suite.limit, device), Path(images).name
        shape = tuple(batches[0].x.shape[1:])
        classes = ()
        labels = np.concatenate([batch.y.cpu().numpy() for batch in batches])
    else:
        data = load_data(config)
        batches = list(replace(data, batch_size=suite.batch_size).test_loader(device, limit=suite.limit))
        name, shape, classes = data.name, data.image_shape, data.classes
        labels = data.test_part.y[np.concatenate([batch.index.cpu().numpy() for batch in batches])]
    return Bench(
        config=config,
        suite=suite,
        threat=make("threat", config["threat"]),
        columns=plan(config),
        loader=batches,
        index=np.concatenate([batch.index.cpu().numpy() for batch in batches]),
        labels=labels,
        classes=classes,
        image_shape=shape,  # type: ignore[arg-type]
        dataset=name,
        folder=folder,
        seed=config["seed"],
    )


def run_attack(job: Job, bench: Bench, model: nn.Module) -> EvalRecord:
    """Run the columns that are not there yet."""
    evaluate_networks(job, bench, {GIVEN: lambda: model})
    found = job.folder.evaluation()
    assert found is not None
    return found.checkpoints[GIVEN]


def own_images(path: Path, batch_size: int, limit: int | None, device: torch.device) -> list[Batch]:
    """Batches from a .npz file: x, float (images, channel, height, width) in [0, 1], and y, class numbers.

    Raises:
        InputError: no such file, other arrays, or images and labels that can't be used.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = (torch.from_numpy(np.asarray(arrays[name])[:limit]) for name in ("x", "y"))
    except FileNotFoundError:
        raise InputError(f"images: expected a .npz file, came {path}, which is not there") from None
    except (KeyError, ValueError, OSError, BadZipFile, TypeError, AttributeError) as error:
        # numpy advises to run what the file holds.
        why = "no archive, or one of Python objects" if "pickle" in str(error) else said(error)
        raise InputError(
            f"images: expected a .npz file with the arrays x and y, came {path} ({why}); "
            "write it with numpy.savez(file, x=x, y=y)"
        ) from None
    # How many classes there are is only known once the network has answered.
    check_examples(x, y, classes=None)
    x, y = x.float().to(device), y.long().to(device)
    index = torch.arange(len(x), device=device)
    return [
        Batch(*b) for b in zip(x.split(batch_size), y.split(batch_size), index.split(batch_size), strict=True)
    ]


def _outputs(network: nn.Module, bench: Bench) -> Sequence[str]:
    """The names of the classes, once the network has answered an image as it must; numbers where the images bring no names."""
    x = next(iter(bench.loader)).x[:1]
    with attack_mode(network, "eval"), torch.no_grad():
        try:
            logits = network(x)
        except Exception as error:
            given = "" if "image_size" in bench.config["dataset"] else "+"
            raise InputError(
                f"model: expected a network that answers images {tuple(x.shape[1:])}, came {said(error)}; "
                f"if it takes another size: {given}dataset.image_size=PIXELS brings pictures of a folder to it"
            ) from error
    if bench.classes:
        check_logits(logits, x, len(bench.classes))
        return bench.classes
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        came = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise InputError(
            f"model: expected logits as a tensor (images, classes) of at least two classes, came {came}; "
            "return the logits alone"
        )
    return tuple(str(number) for number in range(logits.shape[1]))
