"""A candidate of a search as a run of its own: its config and its folder, below the folder of the search."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from advarch.backbones.supernet import inherited
from advarch.datasets.experiment_data import ExperimentData
from advarch.files import write_atomic
from advarch.genotype.cell import Genotype
from advarch.layers.batch_statistics import reestimate_statistics
from advarch.runs import weights
from advarch.runs.build import build_model
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.genotypes import on_trial
from advarch.runs.initial_weights import described
from advarch.search.candidates import Candidates
from advarch.search.method import Searched
from advarch.stages.job import Job


@dataclass(frozen=True)
class CandidateRun:
    """A cell on trial: where it is trained, and how."""

    genotype: Genotype
    folder: RunFolder
    config: Config


def candidate_runs(job: Job, settings: Candidates, genotypes: Sequence[Genotype]) -> list[CandidateRun]:
    """The run of each cell, candidates/<name>-<digest of the cell>.

    Raises:
        InputError: the parent's network has no cells.
    """
    root = job.folder.path / "candidates"
    return [
        CandidateRun(
            genotype,
            RunFolder(root / f"{genotype.name}-{genotype.digest}"),
            candidate_config(job.config, settings, genotype),
        )
        for genotype in genotypes
    ]


def candidate_config(config: Config, settings: Candidates, genotype: Genotype) -> Config:
    """The parent's config with a network of these cells, trained by one process and judged once, after its last epoch.

    Raises:
        InputError: the parent's network has no cells.
    """
    epochs = config["trainer"]["max_epochs"] if settings.epochs is None else settings.epochs
    attack = config["search"]["candidates"]["attack"]
    return {
        **on_trial(config, genotype, inherit=settings.inherit, changes=settings.backbone),
        "stages": ["train"],
        "search": {"name": "none"},
        "sweep": None,
        "stop": None,
        "logger": config["logger"] | {"kind": "csv"},
        "optimizer": config["optimizer"] | ({} if settings.lr is None else {"lr": settings.lr}),
        "trainer": config["trainer"] | {"max_epochs": epochs, "devices": 1, "num_nodes": 1},
        "validation": config["validation"] | {"every": epochs, "attack": attack},
    }


def inheriting(
    run: CandidateRun, supernet: Searched, data: ExperimentData, *, bn_reestimation: bool
) -> nn.Module:
    """The candidate's network with the supernet's weights of its cells, on the supernet's device.

    Raises:
        InputError: a supernet whose weights fit no such network.
    """
    device = next(supernet.parameters()).device
    model = build_model(run.config, classes=len(data.classes), image_shape=data.image_shape).to(device)
    network = model[-1] if isinstance(model, nn.Sequential) else model
    network.load_state_dict(inherited(supernet, run.genotype))
    if bn_reestimation:
        reestimate_statistics(model, data.plain_loader(device), device, lambda sums: sums)
    return model


INHERITED = "inherited.json"
"""How accurate a candidate is with the weights that it inherits, in its folder."""


def bequeath(
    runs: Sequence[CandidateRun],
    supernet: Searched,
    data: ExperimentData,
    *,
    bn_reestimation: bool,
    judge: Callable[[nn.Module], float] | None = None,
) -> None:
    """Put the weights that each candidate inherits into its folder, with what `judge` says of them, and name them in its config."""
    for run in runs:
        file = run.folder.path / "initial.safetensors"
        if not file.is_file():
            model = inheriting(run, supernet, data, bn_reestimation=bn_reestimation)
            if judge is not None:
                write_atomic(run.folder.path / INHERITED, json.dumps({"robust": judge(model)}) + "\n")
            weights.save(model.state_dict(), file)
        run.config["initial_weights"] = described(file)
