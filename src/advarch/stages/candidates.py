"""The choice of a search by trial: cells of the space are trained for a while, each a job of its own, attacked and ranked."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean

import torch
from torch import nn

from advarch import records
from advarch.backbones.normalised import normalised
from advarch.datasets.experiment_data import ExperimentData
from advarch.errors import RunFailed
from advarch.evaluation.validated import validated
from advarch.genotype import candidates as table
from advarch.genotype.candidates import Candidate, candidate
from advarch.genotype.cell import Genotype
from advarch.genotype.space import Space
from advarch.launch import local
from advarch.modes import attack_mode
from advarch.noise import derive_seed
from advarch.records import Progress, Size
from advarch.runs.build import load_data, make
from advarch.runs.folder import RunFolder
from advarch.runs.genotypes import search_space
from advarch.runs.trust import own
from advarch.search.candidates import Candidates, RankBy
from advarch.search.method import Searched
from advarch.stages.candidate_runs import (
    INHERITED,
    CandidateRun,
    bequeath,
    candidate_runs,
    inheriting,
)
from advarch.stages.evaluate import device_of
from advarch.stages.job import Job
from advarch.types import Batch


def best_candidate(job: Job, *, supernet: Searched | None = None) -> Genotype:
    """The best cell of those that are tried, each trained in a run folder of its own and judged on the validation images.

    With `epochs` 0 none is trained: each is judged with the weights that it inherits.
    What is trained already is not trained again; one that fails is named and left out. Writes candidates.csv, the best
    first. Of several processes of a job the first alone calls this.

    Args:
        job: its config has `search.candidates`.
        supernet: trained; needed where candidates inherit.

    Raises:
        InputError: the config can't be honoured.
        RunFailed: all failed, or some were stopped before their end.
        Interrupted: this process was told to stop.
    """
    search = job.config["search"]
    settings: Candidates = make("search.candidates", search["candidates"])
    space = search_space(search)
    if supernet is not None:
        # Where its training ended it has been put back.
        supernet.to(device_of(job.config))
    drawn = settings.sampler(space, random=Random(derive_seed(job.config["seed"], "candidates")))
    if settings.gate is not None:
        drawn = _through_gate(job, settings, drawn, supernet)
    runs = candidate_runs(job, settings, drawn)
    if settings.epochs == 0:
        assert supernet is not None, "the config was rehearsed"
        found = _as_inherited(job, settings, space, runs, supernet)
    else:
        found = _trained(job, settings, space, runs, supernet)
    found = ranked(found, settings.rank_by)
    table.write(found, job.folder.path / table.FILE)
    best = found[0]
    job.say(f"best of {len(found)}: {best.genotype.name}, {_words(best.clean, best.robust)}")
    return replace(best.genotype, source=f"best of {len(found)} candidates of {job.folder.path.name}")


def _through_gate(
    job: Job, settings: Candidates, drawn: Sequence[Genotype], supernet: Searched | None
) -> list[Genotype]:
    """The cells that the gate lets through, which looks at the supernet on the validation images."""
    assert settings.gate is not None and supernet is not None, "the config was rehearsed"
    data, dataset = load_data(job.config), job.config["dataset"]
    device = next(supernet.parameters()).device
    kept = settings.gate(
        normalised(supernet, dataset.get("mean"), dataset.get("std")),
        data.val_loader(device),
        genotypes=drawn,
        statistics=data.plain_loader(device) if settings.bn_reestimation else None,
        seed=derive_seed(job.config["seed"], "gate"),
    )
    job.say(f"{len(kept)} of {len(drawn)} candidates pass the gate")
    return kept


def ranked(found: Sequence[Candidate], rank_by: RankBy) -> list[Candidate]:
    """The best first; the other accuracy decides between equals, then the order in which they came."""
    other = "clean" if rank_by == "robust" else "robust"
    return sorted(found, key=lambda one: (getattr(one, rank_by), getattr(one, other)), reverse=True)


def _as_inherited(
    job: Job, settings: Candidates, space: Space, runs: Sequence[CandidateRun], supernet: Searched
) -> list[Candidate]:
    """Every cell judged with the supernet's weights."""
    data = load_data(job.config)
    batches = _validation(job, data, supernet)
    found = list[Candidate]()
    for run in runs:
        job.stop.check()
        model = inheriting(run, supernet, data, bn_reestimation=settings.bn_reestimation)
        clean, robust = _attacked(job, settings, model, batches)
        flow = (
            settings.flow(
                model, batches, attack=settings.attack, seed=derive_seed(job.config["seed"], "flow")
            )
            if settings.flow
            else ()
        )
        parameters = sum(parameter.numel() for parameter in model.parameters())
        found.append(
            candidate(space, run.genotype, parameters=parameters, clean=clean, robust=robust, flow=flow)
        )
        job.report(Progress("search", len(found), len(runs), "candidates", None, run.genotype.name))
    return found


def _validation(job: Job, data: ExperimentData, supernet: Searched) -> Iterable[Batch]:
    """The validation images on the supernet's device."""
    device = next(supernet.parameters()).device
    return replace(data, batch_size=job.config["validation"]["batch_size"]).val_loader(device)


def _attacked(
    job: Job, settings: Candidates, model: nn.Module, batches: Iterable[Batch]
) -> tuple[float, float]:
    """Clean and robust accuracy of a network as it is."""
    with attack_mode(model, "eval"):
        counts = [validated(model, batch, settings.attack, seed=job.config["seed"]) for batch in batches]
    clean, robust, images = torch.stack(counts).sum(0).tolist()
    return clean / images, robust / images


def _trained(
    job: Job, settings: Candidates, space: Space, runs: Sequence[CandidateRun], supernet: Searched | None
) -> list[Candidate]:
    """Those cells whose training did not fail."""
    if settings.inherit:
        assert supernet is not None, "the config was rehearsed"
        data = load_data(job.config)
        batches = _validation(job, data, supernet)
        judge = (
            (lambda model: _attacked(job, settings, model, batches)[1]) if settings.judge_inherited else None
        )
        bequeath(runs, supernet, data, bn_reestimation=settings.bn_reestimation, judge=judge)
    errors = _train(job, runs, settings.workers)
    found = [_judged(run, space) for run in runs if run.folder.path not in errors]
    if not found:
        raise RunFailed(f"candidates: all {len(runs)} failed; the first: {next(iter(errors.values()))}")
    return found


def _train(job: Job, runs: Sequence[CandidateRun], workers: int | None) -> dict[Path, str]:
    """Train those that are not trained yet; by folder, why some failed."""
    missing = {run.folder.path: run for run in runs if not run.folder.finished("train", run.config)}
    done = len(runs) - len(missing)
    job.say(f"{len(runs)} candidates: {done} trained already, {len(missing)} to train")
    if not missing:
        return {}
    for run in missing.values():
        run.folder.write_config(run.config)
    told: set[Path] = set()

    def show(crew: local.Crew) -> None:
        ended = [worker for worker in crew.workers if worker.state in ("done", "failed", "interrupted")]
        for worker in ended:
            if worker.folder not in told:
                told.add(worker.folder)
                job.say(
                    f"[{done + len(told)}/{len(runs)}] {worker.folder.name}: {_said(missing[worker.folder], worker)}"
                )
        left = (
            mean(worker.seconds for worker in ended) * (len(missing) - len(ended)) / crew.size
            if ended
            else None
        )
        running = ", ".join(worker.folder.name for worker in crew.workers if worker.state == "running")
        job.report(Progress("search", done + len(ended), len(runs), "candidates", left, running))

    crew = local.run(list(missing), workers=workers, show=show, trust=own())
    stopped = sum(worker.state == "interrupted" for worker in crew.workers)
    if stopped:
        raise RunFailed(
            f"candidates: {stopped} of {len(runs)} were stopped before their end; run it again to go on"
        )
    return {
        worker.folder: _error(missing[worker.folder]) for worker in crew.workers if worker.state == "failed"
    }


def _said(run: CandidateRun, worker: local.Worker) -> str:
    """How a candidate ended, for the line that says so."""
    if worker.state == "done":
        return _words(*_accuracies(run.folder))
    return worker.state if worker.state == "interrupted" else f"left out: {_error(run)} (see job.log there)"


def _error(run: CandidateRun) -> str:
    return run.folder.state(run.config)[1] or "its process ended without a word"


def _judged(run: CandidateRun, space: Space) -> Candidate:
    size = records.read(Size, run.folder.path / "size.json")
    assert size is not None, "a finished training has written it"
    clean, robust = _accuracies(run.folder)
    file = run.folder.path / INHERITED
    inherited = json.loads(file.read_text())["robust"] if file.is_file() else None
    return candidate(
        space, run.genotype, parameters=size.parameters, clean=clean, robust=robust, inherited=inherited
    )


def _accuracies(folder: RunFolder) -> tuple[float, float]:
    """Clean and robust accuracy on the validation images after the last epoch."""
    last = folder.curves()[-1]
    return last["val_clean"], last["val_robust"]


def _words(clean: float, robust: float) -> str:
    return f"clean {clean:.1%}, robust {robust:.1%} (validation)"
