"""Sizes of the networks, supernets and candidates of planned jobs: from the papers' table, by formula, from the cache beside the runs, or counted."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from advarch import records
from advarch.cli.compose import PlannedJob
from advarch.files import write_atomic
from advarch.launch.sizes import by_formula
from advarch.records import Size
from advarch.runs.config import digest
from advarch.runs.genotypes import on_trial, stand_in, with_found, with_stand_in
from advarch.runs.papers import rows_of

Count = Callable[[PlannedJob], Size | None]


def backbone_digest(job: PlannedJob) -> str:
    """What names the size of the job's network."""
    dataset = job.config["dataset"]
    normalised = dataset.get("mean") is not None
    return digest([_backbone(job), _declared(dataset), normalised])


def _backbone(job: PlannedJob) -> dict[str, Any]:
    """The network's node; where its cells are still to be found, with others of their space."""
    backbone: dict[str, Any] = with_stand_in(with_found(job.config, job.folder.path))["backbone"]
    return backbone


def supernet_digest(job: PlannedJob) -> str | None:
    """What names the size of the job's supernet; None without one."""
    supernet = job.config["search"].get("supernet")
    return None if supernet is None else digest([supernet, _declared(job.config["dataset"])])


def candidate_digest(job: PlannedJob) -> str | None:
    """What names the size of one of the cells that the job's search tries; None where it tries none."""
    if job.config["search"].get("candidates") is None:
        return None
    dataset = job.config["dataset"]
    return digest([_candidate(job), _declared(dataset), dataset.get("mean") is not None])


def _candidate(job: PlannedJob) -> dict[str, Any]:
    """The network's node of a cell on trial, some cell of the space in it."""
    settings = job.config["search"]["candidates"]
    given = on_trial(
        job.config, stand_in(job.config), inherit=settings["inherit"], changes=settings["backbone"]
    )
    backbone: dict[str, Any] = given["backbone"]
    return backbone


def sizes_of(jobs: Sequence[PlannedJob]) -> dict[str, Size]:
    """Size of each different network: of the papers' from their table, of others by formula or from the cache beside the runs.

    Only what has none is counted, which imports torch.
    """
    if not jobs:
        return {}
    path = Path(jobs[0].config["outputs"]) / ".sizes.json"
    cached: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    sizes = {key: records.load(Size, json.dumps(value)) for key, value in cached.items()}
    sizes = {key: size for key, size in sizes.items() if size.activations is not None}
    tabled = {backbone_digest(job): size for job in jobs if (size := _tabled(job)) is not None}
    wanted: dict[str, tuple[PlannedJob, Count]] = {}
    for job in jobs:
        wanted[backbone_digest(job)] = (job, lambda job: _count(job, _backbone(job)))
        if (key := supernet_digest(job)) is not None:
            wanted[key] = (job, _count_supernet)
        if (key := candidate_digest(job)) is not None:
            wanted[key] = (job, lambda job: _count(job, _candidate(job)))
    missing = {key: each for key, each in wanted.items() if key not in tabled and key not in sizes}
    for key, (job, count) in missing.items():
        counted = count(job)
        if counted is not None:
            sizes[key] = counted
    if missing:
        text = json.dumps({key: json.loads(records.dump(size)) for key, size in sizes.items()}, indent=1)
        write_atomic(path, text + "\n")
    return sizes | tabled


def _tabled(job: PlannedJob) -> Size | None:
    asked = _declared(job.config["dataset"])
    tabled = next((row.size for row in rows_of(job.config) if (row.classes, row.image) == asked), None)
    return tabled or by_formula(job.config["backbone"], *asked)


def _count(job: PlannedJob, backbone: dict[str, Any]) -> Size | None:
    """Count on the meta device. None when the dataset says neither classes nor shape until its files are read."""
    from advarch.runs.binding import bind
    from advarch.runs.build import size_of

    classes, shape = _declared(job.config["dataset"])
    config = {**job.config, **bind({"backbone": backbone})}
    return None if classes is None or shape is None else size_of(config, classes=classes, image_shape=shape)


def _count_supernet(job: PlannedJob) -> Size | None:
    """The same of the supernet."""
    from advarch.runs.binding import bind
    from advarch.runs.search import supernet_size

    classes, shape = _declared(job.config["dataset"])
    config = {**job.config, **bind({"search": job.config["search"]})}
    if classes is None or shape is None:
        return None
    return supernet_size(config, classes=classes, image_shape=shape)


def _declared(dataset: dict[str, Any]) -> tuple[int | None, tuple[int, int, int] | None]:
    """Number of classes and the images' shape, as far as the config says them."""
    shape, side = dataset.get("image_shape"), dataset.get("image_size")
    if shape is None:
        return dataset.get("classes"), None
    channels, height, width = shape
    return dataset.get("classes"), (channels, side or height, side or width)
