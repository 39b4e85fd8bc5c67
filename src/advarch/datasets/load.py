"""One entry for every dataset: what the config of group `dataset` builds."""

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from advarch.datasets.experiment_data import ExperimentData
from advarch.datasets.images import ImageData
from advarch.datasets.phases import Phase
from advarch.datasets.splits import split, subset
from advarch.errors import InputError

_REFUSED = {
    "root": "its images come inside an installed package",
    "download": "there is nothing to download it from",
    "image_size": "its images have one size",
    "skip_damaged": "its files are not looked through beforehand",
}


def load(
    *,
    source: Callable[..., ImageData],
    root: str | None = None,
    download: bool = False,
    image_size: Annotated[int, Ge(1)] | None = None,
    skip_damaged: bool = False,
    val_fraction: Annotated[float, Ge(0), Lt(1)],
    seed: int,
    limit: Annotated[int, Ge(1)] | None = None,
    crop_pad: Annotated[int, Ge(0)],
    flip: bool,
    rotation: Annotated[float, Gt(0), Le(180)] | None = None,
    cutout: Annotated[int, Ge(1)] | None = None,
    batch_size: Annotated[int, Ge(1)],
    phases: Sequence[Phase] | None = None,
    workers: Annotated[int, Ge(0)] = 0,
    pseudo_share: Annotated[float, Gt(0), Lt(1)] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    eps: Annotated[float, Gt(0), Le(1)],
    classes: Annotated[int, Ge(2)] | None = None,
    image_shape: Sequence[int] | None = None,
    train_images: Annotated[int, Ge(1)] | None = None,
    epochs: Annotated[int, Ge(1)] | None = None,
) -> ExperimentData:
    """Read a dataset and decide which image does what.

    Args:
        source: one of this room's readers; of root, download, image_size and skip_damaged it gets those it
            takes.
        root: folder of the dataset; None for those inside a package.
        download: fetch the dataset if it is missing, where torchvision can.
        image_size: height and width, pixels; None is the reader's own.
        skip_damaged: leave out files that can't be decoded.
        val_fraction: share of the training images that validate.
        seed: of the validation part, of order and of augmentation.
        limit: use only this many training images and this many test images, always the same ones: for smoke
            runs.
        crop_pad: zero padding of random training crops, pixels; 0 crops nothing.
        flip: mirror half of the training images.
        rotation: turn each training image by up to so many degrees, either way.
        cutout: side of a square set to zero at a random place of each training image, pixels.
        batch_size: images of one batch, all devices together.
        phases: batch_size and size of the training images for some epochs each, one after the other; None keeps both.
            Validation and test images are as ever.
        workers: processes that decode, for lazily decoded datasets; the others need none.
        pseudo_share: share of each training batch whose labels were guessed by a model (RST); None takes all images
            alike.
        mean: per channel, of images in [0, 1], for the normalisation layer inside the model; None normalises
            nothing.
        std: the same.
        eps: customary l_inf budget, in [0, 1] pixels.
        classes: how many there are, where that is known before the files are read: what `advarch plan` counts
            with.
        image_shape: (channel, height, width), likewise; `image_size` replaces height and width.
        train_images: how many the published training set has, likewise; only for estimates.
        epochs: how long one customarily trains on it.

    Raises:
        InputError: a setting this dataset can't honour, one it needs and lacks, or unreadable files.
    """
    data = source(**_settings(source, root, download, image_size, skip_damaged))
    del train_images, epochs
    _check(data, crop_pad, mean, std)
    if pseudo_share is not None and data.train.pseudo is None:
        raise InputError(
            f"expected no dataset.pseudo_share with {data.name}, whose labels are all people's, came {pseudo_share}; "
            "set it to null"
        )
    _check_declared(data, classes, None if image_size else image_shape)
    return ExperimentData(
        name=data.name,
        classes=data.classes,
        image_shape=data.train.image_shape,
        train_part=data.train,
        test_part=data.test,
        splits=split(
            data.train.y, val_fraction=val_fraction, seed=seed, limit=limit, pseudo=data.train.pseudo
        ),
        test_indices=subset(data.test.y, limit=limit),
        batch_size=batch_size,
        seed=seed,
        crop_pad=crop_pad,
        flip=flip,
        phases=tuple(phases or ()),
        rotation=rotation,
        cutout=cutout,
        workers=workers,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
        eps=eps,
        pseudo_share=pseudo_share,
    )


def _settings(
    source: Callable[..., ImageData],
    root: str | None,
    download: bool,
    image_size: int | None,
    skip_damaged: bool,
) -> dict[str, Any]:
    taken = inspect.signature(source).parameters
    name = getattr(getattr(source, "func", source), "__name__", "this dataset")
    given: dict[str, Any] = {
        "root": root,
        "download": download,
        "image_size": image_size,
        "skip_damaged": skip_damaged,
    }
    passed = {}
    for key, value in given.items():
        unset = value is None or value is False
        if key not in taken:
            if not unset:
                raise InputError(
                    f"expected no dataset.{key} with {name}, came {value}; leave it out: {_REFUSED[key]}"
                )
        elif not unset:
            passed[key] = value
        elif taken[key].default is inspect.Parameter.empty:
            raise InputError(f"expected dataset.{key} with {name}, came none; set dataset.{key}=...")
    return passed


def _check(data: ImageData, crop_pad: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if crop_pad and not isinstance(data.train.x, np.ndarray):
        raise InputError(
            f"expected dataset.crop_pad=0 with {data.name}, whose pictures are cropped when they are "
            "decoded, came "
            f"{crop_pad}; set it to 0"
        )
    channels = data.train.image_shape[0]
    if (mean is None) != (std is None):
        raise InputError("expected dataset.mean and dataset.std together, came one of them; set both or none")
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise InputError(
                f"expected dataset.{key} with {channels} values, one for each channel of {data.name}, "
                f"came {len(values)}; set one for each channel"
            )
    if std is not None and not min(std) > 0:
        raise InputError(f"expected dataset.std above 0, came {min(std)}; images are divided by it")


def _check_declared(data: ImageData, classes: int | None, image_shape: Sequence[int] | None) -> None:
    """What the config says beforehand must be what the files hold, or every planned size was wrong."""
    found = {"classes": len(data.classes), "image_shape": list(data.train.image_shape)}
    for key, declared in (("classes", classes), ("image_shape", image_shape)):
        declared = list(declared) if isinstance(declared, Sequence) else declared
        if declared is not None and declared != found[key]:
            raise InputError(
                f"expected dataset.{key}={declared} in {data.name}, came {found[key]}; "
                f"set dataset.{key} to what the files hold, or to null"
            )
