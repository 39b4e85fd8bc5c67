"""The guide's parts of one's own do what their pages say: each against a closed form, and once in a run."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.cli.compose import planned_jobs
from advarch.defenses.natural import natural
from advarch.genotype import stored
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.records import AttackResult, EvalRecord, RunRecord
from advarch.reports.table import build
from advarch.reports.text import markdown
from advarch.runs import trust
from advarch.runs.build import make
from advarch.search.architecture import Softmax
from advarch.search.darts import Darts
from advarch.threat import Threat
from tests.guide.pages import EXAMPLES, GUIDE
from tests.search.small import at, supernet
from tests.smoke.command import finished

ROW = 48


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function from overrides to the configs that the guide's own folder makes of them, checked."""
    monkeypatch.setattr(trust, "_own", ["mine"])
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    return lambda *typed: [
        job.config for job in planned_jobs(["--config-dir", str(EXAMPLES / "conf"), *typed], check=True)
    ]


def linear(classes: int = 2) -> nn.Module:
    """Logits W x of 3x4x4 images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(ROW, classes)).double()


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.float64)


def test_the_backbone_has_the_parameters_that_its_page_says(composed: Any) -> None:
    def count(width: int, depth: int, channels: int, classes: int) -> int:
        first, other = 9 * channels * width + width, 9 * width**2 + width
        return first + (depth - 1) * other + width * classes + classes

    (config,) = composed("backbone=plain")
    net = make("backbone", config["backbone"], classes=10, in_channels=1)
    assert sum(p.numel() for p in net.parameters()) == count(16, 3, 1, 10) == 4970
    assert "4,970" in (GUIDE / "own_backbone.md").read_text()
    (config,) = composed("backbone=plain", "backbone.width=5", "backbone.depth=1")
    net = make("backbone", config["backbone"], classes=4, in_channels=3)
    assert sum(p.numel() for p in net.parameters()) == count(5, 1, 3, 4)
    x = torch.rand(2, 3, 7, 9)
    convolution, head = net.features[0], net.classifier
    expected = F.linear(convolution(x).clamp(min=0).mean((2, 3)), head.weight, head.bias)
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(("threat", "length"), [("linf", 1.0), ("l2", ROW**-0.5)])
def test_the_attack_moves_every_pixel_towards_the_smaller_margin(
    composed: Any, threat: str, length: float
) -> None:
    eps = 0.25
    (config,) = composed("attack=brightness", f"threat={threat}", f"threat.eps={eps}")
    net, x = linear(), pictures(64)
    y = torch.arange(64) % 2
    slope = (net[1].weight[1] - net[1].weight[0]).detach().view(3, 4, 4)
    adversarial = make("attack", config["attack"])(net, x, y)
    both = [(x + sign * eps * length).clamp(0, 1) for sign in (1, -1)]
    margins = [(2 * y - 1) * (moved * slope).sum((1, 2, 3)) for moved in both]
    darker = margins[1] < margins[0]
    torch.testing.assert_close(adversarial, torch.where(darker.view(-1, 1, 1, 1), both[1], both[0]))
    assert 0 < darker.sum() < 64
    ball = Threat("inf" if threat == "linf" else 2, eps)
    assert (ball.distance(adversarial, x) <= eps + 1e-12).all()


@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_the_defense_is_its_formula(composed: Any, weight: float) -> None:
    (config,) = composed("defense=logit_pairing", f"defense.weight={weight}")
    net, x, y = linear(4), pictures(6), torch.arange(6) % 4
    shift = 0.1 * torch.ones_like(x)
    output = make("defense", config["defense"])(net, x, y, attack=lambda model, x, y, **_: x + shift)
    matrix, bias = net[1].weight, net[1].bias
    clean = x.flatten(1) @ matrix.T + bias
    moved = clean + 0.1 * matrix.sum(1)
    ce = sum(F.nll_loss(z.log_softmax(1), y) for z in (clean, moved)) / 2
    # The logits of every image move by the same: the square is known without the images.
    pair = (0.1 * matrix.sum(1)).square().mean()
    torch.testing.assert_close(output.total, ce + weight * pair)
    torch.testing.assert_close(output.terms["pair"], pair.detach())
    assert output.adversarial and torch.equal(output.logits, net(x + shift).detach())


SPACE = Space(DARTS_OPERATIONS, nodes=3)


def skip_count(cell: Any) -> int:
    return [edge.op for _, edge in cell.edges].count("skip_connect")


def test_the_sampler_draws_different_cells_of_the_space_with_few_skips(composed: Any) -> None:
    (config,) = composed("search=random_few_skips", "backbone=searched", "scale=smoke")
    sampler = config["search"]["candidates"]["sampler"]
    assert sampler["most"] == 2
    found = make("sampler", sampler)(SPACE, random=Random(0), most=1, count=40)
    assert len({genotype.digest for genotype in found}) == len({g.name for g in found}) == 40
    assert all(SPACE.contains(genotype) for genotype in found)
    assert {skip_count(cell) for genotype in found for cell in genotype.cells} == {0, 1}
    with pytest.raises(ValueError, match="count: expected at most"):
        make("sampler", sampler)(Space(["skip_connect"], nodes=1), random=Random(0), most=0)


def test_the_method_derives_few_skips_and_else_what_darts_derives(composed: Any) -> None:
    (config,) = composed("search=few_skips", "backbone=searched", "scale=smoke")
    method = config["search"]["method"]
    net = supernet(partial(Softmax, std=1.0), space=SPACE)
    attack = partial(pgd, threat=Threat("inf", 0.1), steps=1, step_size=0.1)
    given = {"supernet": net, "defense": natural, "attack": attack}
    darts = Darts(**given)
    capped = {most: make("search.method", {**method, "most": most}, **given) for most in (0, 1, 9)}
    with torch.no_grad():
        net.arch.alpha[..., DARTS_OPERATIONS.index("skip_connect")] += 1.5
    plain = darts.derive(at(0))
    assert max(skip_count(cell) for cell in plain.cells) > 1
    assert capped[9].derive(at(0)).cells == plain.cells
    for most in (0, 1):
        found = capped[most].derive(at(0))
        assert SPACE.contains(found) and max(skip_count(cell) for cell in found.cells) == most


def record(config: dict[str, Any], correct: int, total: int = 1000) -> RunRecord:
    """A finished run, its numbers made up."""
    results = [
        AttackResult(name, count, total, 0.9, 0.99, None, None, 1, 1.0, ())
        for name, count in (("clean", 990), ("pgd20@steps=40", correct))
    ]
    evaluations = {"best": EvalRecord("best", "mnist5k", "inf", 0.3, tuple(results))}
    return RunRecord(name="a", folder="a", config=config, state="done", evaluations=evaluations)  # type: ignore[arg-type]


def test_the_table_sets_published_ours_and_the_difference_side_by_side(composed: Any) -> None:
    configs = composed("+sweep=mnist_pgd40")
    assert [c["choices"]["defense"] for c in configs] == ["pgd_at", "trades"]
    assert configs[0]["attack"]["steps"] == 7 and configs[1]["defense"]["beta"] == 6
    said = [line for line in (GUIDE / "own_table.md").read_text().splitlines() if line.startswith("| ")]
    missing = [RunRecord(name="a", folder="a", config=config, state="missing") for config in configs]  # type: ignore[call-arg]
    shown = markdown(build(configs[0]["sweep"], missing)).splitlines()
    assert len(said) == 4 and all(line in shown for line in said)
    table = build(configs[0]["sweep"], [record(c, n) for c, n in zip(configs, (950, 967), strict=True)])
    headings = [header.heading for header in table.headers]
    assert headings[-3:] == ["PGD, steps=40 published", "PGD, steps=40 (%)", "difference"]
    cells = [[cell.text for cell in row.cells[-3:]] for row in table.rows]
    assert [(row[0], row[2]) for row in cells] == [("96.01", "−1.01"), ("96.07", "+0.63")]


FEW = ["trainer.max_epochs=1", "dataset.limit=100", "dataset.batch_size=45", "in_process=true"]


def ran(tmp_path: Path, *typed: str) -> Path:
    """The folder of a run that a reader of the guide starts beside mine/ and conf/."""
    # Other tests import from there meanwhile, and bytecode comes and goes.
    bytecode = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLES, tmp_path, ignore=bytecode, dirs_exist_ok=True)
    code, _, errors = finished(
        tmp_path, tmp_path / "said", "--trust", "mine", "--config-dir", "conf", *typed, *FEW
    )
    assert code == 0, errors
    (folder,) = (tmp_path / "outputs" / "single").iterdir()
    return folder


@pytest.mark.slow
def test_a_network_of_own_parts_is_trained_and_attacked(tmp_path: Path) -> None:
    parts = ["backbone=plain", "backbone.width=4", "defense=logit_pairing", "defense.weight=1000"]
    column = "+attack@evaluation.attacks.brightness=brightness"
    few = [
        "attack.steps=1",
        "evaluation.checkpoints=[last]",
        "evaluation.probe=false",
        "evaluation.gallery=0",
    ]
    folder = ran(tmp_path, *parts, column, *few)
    head, *rows = (folder / "metrics.csv").read_text().splitlines()
    terms = dict(zip(head.split(","), rows[-1].split(","), strict=True))
    loss, ce, pair = (float(terms[f"train_loss{name}"]) for name in ("", "_ce", "_pair"))
    # Each of the two sides is rounded to six digits, by up to 5e-6 of it.
    assert loss == pytest.approx(ce + 1000 * pair, rel=1e-5) and pair > 0
    (last,) = json.loads((folder / "evaluation.json").read_text())["checkpoints"].values()
    results = {result["name"]: result for result in last["results"]}
    assert list(results) == ["clean", "fgsm", "pgd20", "brightness", "worst"]
    assert results["worst"]["correct"] <= results["brightness"]["correct"] <= results["clean"]["correct"]
    with np.load(folder / "outcomes.npz") as outcomes:
        distances = [outcomes[key] for key in outcomes if "brightness" in key and "distance" in key]
    assert distances and not any((distance > 0.2 + 1e-6).any() for distance in distances)


@pytest.mark.slow
def test_a_search_of_ones_own_leaves_cells_of_its_space(tmp_path: Path) -> None:
    small = ["scale=smoke", "search.epochs=1", "search.method.most=0", "search.supernet.space.nodes=2"]
    folder = ran(tmp_path, "search=few_skips", "backbone=searched", "stages=[search]", *small)
    found = stored.read(folder / "genotype.json")
    assert Space(DARTS_OPERATIONS, nodes=2).contains(found)
    assert [skip_count(cell) for cell in found.cells] == [0, 0]
