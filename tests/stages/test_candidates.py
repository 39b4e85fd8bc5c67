"""The choice by trial, with an engine that plants what training would find: the best is taken, failures are left out, the rest resumes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest
import torch

from advarch import records
from advarch.backbones.cell_net import CellNet
from advarch.backbones.supernet import inherited
from advarch.errors import InputError, RunFailed
from advarch.files import write_atomic
from advarch.genotype import candidates as table
from advarch.genotype import stored
from advarch.genotype.cell import Genotype
from advarch.genotype.space import Space
from advarch.launch import local
from advarch.noise import derive_seed
from advarch.records import Progress, Size
from advarch.runs import weights
from advarch.runs.config import Config
from advarch.runs.folder import RunFolder
from advarch.runs.initial_weights import initial_file
from advarch.runs.tracking import NoTracker
from advarch.runs.trust import own
from advarch.search.architecture import Path as PathOf
from advarch.search.candidates import Candidates, every
from advarch.stages import candidate_runs, candidates
from advarch.stages.job import Job
from tests.search.small import SPACE, batches, supernet

SMALL = Space(("skip_connect", "sep_conv_3x3", "max_pool_3x3"), nodes=1, inputs=1, layout="shared")
ATTACK = {"_target_": "advarch.attacks.pgd.pgd", "_partial_": True, "steps": 3, "step_size": 0.1}
CANDIDATES = {
    "_target_": "advarch.search.candidates.Candidates",
    "sampler": {"_target_": "advarch.search.candidates.every", "_partial_": True},
    "attack": ATTACK,
}
CONFIG: Config = {
    "seed": 3,
    "stages": ["search", "train", "evaluate"],
    "sweep": {"name": "some"},
    "stop": {"_target_": "advarch.lit.overfitting_stop.OverfittingStop"},
    "logger": {"kind": "wandb", "project": "p"},
    "dataset": {},
    "backbone": {
        "_target_": "advarch.backbones.cell_net.CellNet", "_partial_": True,
        "genotype": "search", "cells": 3, "channels": 2,
    },
    "optimizer": {"lr": 0.1, "momentum": 0.9},
    "trainer": {"max_epochs": 7, "devices": 2, "num_nodes": 2},
    "validation": {"every": 1, "batch_size": 500, "attack": {"steps": 10}},
    "search": {"name": "oracle", "candidates": CANDIDATES},
}  # fmt: skip

Accuracies = tuple[float, float]
Plan = Callable[[Genotype], Accuracies | str]
"""Clean and robust accuracy of a cell, or the state its job ends in."""


class Engine:
    """Stands in for `launch.local.run`."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.ran = plan, list[str]()

    def run(
        self,
        folders: list[Path],
        *,
        workers: int | None,
        show: Callable[[local.Crew], None],
        trust: tuple[str, ...],
    ) -> local.Crew:
        del workers
        assert trust == own()
        crew = local.Crew([local.Worker(folder) for folder in folders], size=2)
        for worker in crew.workers:
            self.ran.append(worker.folder.name)
            folder = RunFolder(worker.folder)
            found = self.plan(stored.from_plain(folder.config()["backbone"]["genotype"]))
            folder.begin("train")
            if isinstance(found, str):
                worker.state = found  # type: ignore[assignment]
                folder.end("train", worker.state, "exploded")
            else:
                worker.state = "done"
                clean, robust = found
                write_atomic(
                    worker.folder / "metrics.csv", f"epoch,val_clean,val_robust\n7,{clean},{robust}\n"
                )
                write_atomic(worker.folder / "size.json", records.dump(Size(parameters=123, macs=1)))
                folder.end("train", "done")
            show(crew)
        return crew


class Bench:
    """A job, what it said and reported, and its engine."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said, self.reported = list[str](), list[Progress]()
        self.monkeypatch = monkeypatch
        self.folder = RunFolder(path / "run")

    def choose(self, plan: Plan, **changed: object) -> tuple[Genotype, Engine]:
        engine = Engine(plan)
        self.monkeypatch.setattr(local, "run", engine.run)
        search = {"name": "oracle", "space": asdict(SMALL), "candidates": CANDIDATES | changed}
        job = Job(
            self.folder, CONFIG | {"search": search}, NoTracker(), self.reported.append, self.said.append
        )
        return candidates.best_candidate(job), engine

    def table(self) -> list[table.Candidate]:
        return table.read(self.folder.path / table.FILE)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def op(genotype: Genotype) -> tuple[str, int]:
    ((edge,),) = genotype.cells[0].nodes
    return edge.op, edge.source


def planted(genotype: Genotype) -> Accuracies:
    """A convolution of input 1 is the most robust, a pooling of input 0 the cleanest."""
    best, cleanest = op(genotype) == ("sep_conv_3x3", 1), op(genotype) == ("max_pool_3x3", 0)
    return (0.9 if cleanest else 0.8), (0.6 if best else 0.5)


def test_the_planted_best_is_taken_and_the_table_is_ranked(bench: Bench) -> None:
    best, engine = bench.choose(planted)
    assert op(best) == ("sep_conv_3x3", 1) and len(engine.ran) == SMALL.size == 6
    rows = bench.table()
    assert [row.robust for row in rows] == [0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert rows[0].genotype.cells == best.cells and rows[0].parameters == 123
    assert (rows[0].density, rows[0].direct_convolutions) == (0.5, 1.0)
    assert rows[1].clean == 0.9, "of equals the cleaner one"
    assert (bench.reported[-1].step, bench.reported[-1].total, bench.reported[-1].seconds_left) == (6, 6, 0.0)


def test_clean_accuracy_may_rank(bench: Bench) -> None:
    assert op(bench.choose(planted, rank_by="clean")[0]) == ("max_pool_3x3", 0)


def test_of_equals_the_first_is_taken(bench: Bench) -> None:
    assert bench.choose(lambda genotype: (0.5, 0.5))[0].name == "cell_0"


def test_one_that_fails_is_named_and_left_out(bench: Bench) -> None:
    best, _ = bench.choose(lambda cell: "failed" if op(cell) == ("sep_conv_3x3", 1) else planted(cell))
    assert op(best) == ("max_pool_3x3", 0) and len(bench.table()) == 5
    (line,) = [line for line in bench.said if "left out" in line]
    assert "cell_4-" in line and "exploded" in line


def test_only_what_is_missing_runs_again(bench: Bench) -> None:
    _, first = bench.choose(lambda cell: "failed" if cell.name in ("cell_1", "cell_4") else planted(cell))
    best, second = bench.choose(planted)
    assert len(first.ran) == 6 and [name[:6] for name in second.ran] == ["cell_1", "cell_4"]
    assert op(best) == ("sep_conv_3x3", 1) and len(bench.table()) == 6
    assert bench.choose(planted)[1].ran == []


def test_stopped_ones_are_no_failures(bench: Bench) -> None:
    with pytest.raises(RunFailed, match="1 of 6 were stopped before their end; run it again"):
        bench.choose(lambda cell: "interrupted" if cell.name == "cell_2" else planted(cell))
    assert not (bench.folder.path / table.FILE).exists()


def test_nothing_is_chosen_where_all_fail(bench: Bench) -> None:
    with pytest.raises(RunFailed, match="all 6 failed; the first: exploded"):
        bench.choose(lambda cell: "failed")


def test_a_candidate_is_its_parent_with_another_network_trained_alone_and_judged_once_on_validation(
    bench: Bench,
) -> None:
    bench.choose(planted, epochs=2, lr=0.01, backbone={"channels": 4})
    (path,) = (bench.folder.path / "candidates").glob("cell_4-*")
    config = RunFolder(path).config()
    cell = list(SMALL.enumerate())[4]
    assert config["stages"] == ["train"] and config["stop"] is None and config["seed"] == 3
    assert config["backbone"] == CONFIG["backbone"] | {"channels": 4, "genotype": stored.to_plain(cell)}
    assert config["trainer"] == {"max_epochs": 2, "devices": 1, "num_nodes": 1}
    assert config["validation"] == {"every": 2, "batch_size": 500, "attack": ATTACK}
    assert config["optimizer"] == {"lr": 0.01, "momentum": 0.9} and config["logger"]["kind"] == "csv"


def test_without_epochs_a_candidate_trains_as_long_as_the_network_in_the_end() -> None:
    settings = candidates.make("search.candidates", CANDIDATES)
    config = candidate_runs.candidate_config(CONFIG, settings, SMALL.sample(Random(0)))
    assert config["trainer"]["max_epochs"] == config["validation"]["every"] == 7
    assert config["optimizer"] == CONFIG["optimizer"]


def test_a_network_without_cells_is_refused() -> None:
    config = CONFIG | {"backbone": {"_target_": "advarch.backbones.wide_resnet.WideResNet"}}
    settings = candidates.make("search.candidates", CANDIDATES)
    with pytest.raises(InputError, match=r"^backbone: expected a network of cells .* set backbone=searched$"):
        candidate_runs.candidate_config(config, settings, SMALL.sample(Random(0)))


class Images:
    """What inheriting asks the data for."""

    classes, image_shape = ("a", "b"), (1, 6, 6)

    def plain_loader(self, device: torch.device) -> list:
        del device
        return [batches().weights]


@pytest.mark.parametrize("again", [False, True])
def test_a_candidate_inherits_the_supernets_weights_and_statistics_taken_anew(
    tmp_path: Path, again: bool
) -> None:
    source = supernet(PathOf, pool_norm=False)
    shape = {"cells": 3, "channels": 2, "affine": False, "activation": "relu"}
    search = {"supernet": shape, "candidates": CANDIDATES}
    job = Job(RunFolder(tmp_path), CONFIG | {"search": search}, NoTracker(), lambda _: None, lambda _: None)
    settings = candidates.make("search.candidates", CANDIDATES | {"inherit": True})
    cell = SPACE.sample(Random(1))
    (run,) = candidate_runs.candidate_runs(job, settings, [cell])
    asked = []
    judge = None if again else lambda model: asked.append(model) or 0.25
    for _ in range(2):
        candidate_runs.bequeath([run], source, Images(), bn_reestimation=again, judge=judge)
    told = run.folder.path / candidate_runs.INHERITED
    assert told.exists() != again and len(asked) == (not again), "told once, where it is asked for"
    assert again or json.loads(told.read_text()) == {"robust": 0.25}
    network = CellNet(classes=2, in_channels=1, genotype=stored.to_plain(cell), **shape)
    file = initial_file(run.config)
    assert file is not None and file.parent == run.folder.path
    weights.load_any(network, file)
    expected = inherited(source, cell)
    for name, value in network.state_dict().items():
        moved = again and "running" in name
        assert torch.equal(value, expected[name]) != moved, name
    if again:
        convolution, norm = network.stems[0]
        seen = convolution(batches().weights.x)
        assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-6)


class ValidationImages(Images):
    """Two batches, of six images."""

    def val_loader(self, device: torch.device) -> list:
        del device
        return [batches(seed).weights for seed in (0, 1)]


def test_without_epochs_the_weights_of_the_supernet_are_judged_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "load_data", lambda config: ValidationImages())
    monkeypatch.setattr(candidates, "replace", lambda data, batch_size: data)
    source = supernet(PathOf, pool_norm=False).eval()

    def darker(network, x, y, *, generator):
        return x * 0.2

    def flow(model, images, *, attack, seed):
        assert attack is darker and seed == derive_seed(3, "flow")
        with torch.no_grad():
            return [float(model.eval()(next(iter(images)).x).sum()), 2.0]

    settings = Candidates(sampler=every, attack=darker, epochs=0, inherit=True, flow=flow)
    shape = {"cells": 3, "channels": 2, "affine": False, "activation": "relu"}
    config = CONFIG | {"search": {"supernet": shape, "candidates": CANDIDATES}}
    job = Job(RunFolder(tmp_path), config, NoTracker(), lambda _: None, lambda _: None)
    cells = [SPACE.sample(Random(seed), f"cell_{seed}") for seed in range(3)]
    runs = candidate_runs.candidate_runs(job, settings, cells)
    for row, cell in zip(candidates._as_inherited(job, settings, SPACE, runs, source), cells, strict=True):
        source.arch.choose(cell)
        right = [source(x).argmax(1) == y for x, y, _ in ValidationImages().val_loader(None)]
        dark = [source(x * 0.2).argmax(1) == y for x, y, _ in ValidationImages().val_loader(None)]
        both = torch.cat(right) & torch.cat(dark)
        assert row.clean == pytest.approx(torch.cat(right).double().mean().item())
        assert row.robust == pytest.approx(both.double().mean().item())
        with torch.no_grad():
            assert row.flow == pytest.approx((float(source(batches(0).weights.x).sum()), 2.0), rel=1e-5)
    assert not (tmp_path / "candidates").exists()
