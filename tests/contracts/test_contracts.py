"""What every backbone, attack, defense, dataset promises, found by looking into conf/."""

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor, nn

from advarch.backbones.ark_net import ArkNet
from advarch.backbones.cell_net import reductions
from advarch.backbones.dilated import Dilated
from advarch.backbones.ds_net import DSNet
from advarch.cli.compose import compose, hydra_configs, planned
from advarch.defenses.contract import AfterBackward, Remembers, TrainStep
from advarch.genotype import robnet_code
from advarch.genotype.published import resolve
from advarch.launch.memory import training_memory
from advarch.layers.residual_branches import ArkBlock
from advarch.metrics.cost import macs, parameters
from advarch.noise import ExampleGenerator
from advarch.records import Size
from advarch.runs import papers
from advarch.runs.build import make
from advarch.runs.config import data_root
from advarch.threat import Threat
from tests.attacks.small_nets import Linear
from tests.defenses.test_kd import teachers
from tests.defenses.test_losses import FakeAttack

EPS = 0.2

# Each file of tests/defenses writes its losses plainly, by the names of their YAML files.
PLAIN: dict[str, Callable] = {
    name: plain
    for path in sorted((Path(__file__).parents[1] / "defenses").glob("test_*.py"))
    for name, plain in getattr(import_module(f"tests.defenses.{path.stem}"), "PLAIN", {}).items()
}


def choices(folder: Path) -> list[str]:
    """The names of a group: every YAML below it but those that others are made of and the empty choice."""
    found = [
        path for path in folder.rglob("*.yaml") if not path.name.startswith("_") and path.name != "none.yaml"
    ]
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in found)


CONF = data_root("conf")
BACKBONES, ATTACKS, DEFENSES, DATASETS = (
    choices(CONF / g) for g in ("backbone", "attack", "defense", "dataset")
)
BACKBONES.remove("searched")  # has no cells without a search
SCALED = [name for name in choices(CONF / "scale") if "/" in name]
"""What a scale makes of another choice: search/small_racl."""
SWEEPS = choices(data_root("sweeps"))
OTHERS = [
    (group.name, name)
    for group in sorted(CONF.iterdir())
    if group.is_dir()
    and group.name not in ("backbone", "attack", "defense", "dataset", "hydra", "__pycache__")
    for name in choices(group)
    if group.name != "scale" or name not in SCALED
]
TRIED = [(group, name) for group, name in OTHERS if group != "method"]
"""The presets, too, are composed and bound: by test_presets, which looks into them."""


def test_what_there_is_was_found() -> None:
    counts = {
        "backbone": BACKBONES,
        "attack": ATTACKS,
        "defense": DEFENSES,
        "dataset": DATASETS,
    }
    least = {"backbone": 30, "attack": 25, "defense": 3, "dataset": 10}
    for group, names in counts.items():
        assert len(names) >= least[group] and len(set(names)) == len(names), group
    assert len(OTHERS) >= 16
    files = [
        path for path in CONF.rglob("*.yaml") if not path.name.startswith("_") and path.name != "none.yaml"
    ]
    known = sum(len(names) for names in counts.values()) + len(OTHERS) + len(SCALED)
    assert known + len(["searched"]) == sum(
        path.parts[len(CONF.parts)] not in ("hydra", "config.yaml") for path in files
    )


@cache
def composed(*overrides: str) -> dict[str, Any]:
    with hydra_configs():
        return planned(compose(list(overrides)), check=True).config


def each_composed(names: Iterable[str]) -> pytest.MarkDecorator:
    """A test of each choice, all of one choice in one process: there its config is composed once."""
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]
    )


@pytest.mark.parametrize(("group", "name"), TRIED, ids=lambda value: value)
def test_every_choice_of_every_other_group_composes_and_binds(group: str, name: str) -> None:
    assert composed(f"{group}={name}")["choices"][group] == name


@pytest.mark.parametrize("name", SCALED)
def test_what_a_scale_makes_of_a_choice_composes_and_binds(name: str) -> None:
    group, _, both = name.partition("/")
    scale, _, choice = both.partition("_")
    search = [] if group == "search" else ["search=racl"]
    found = composed(f"{group}={choice}", f"scale={scale}", *search)["choices"]
    assert found[f"scale/{group}"] == both and found[group] == choice


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_composes_and_binds_with_a_root(name: str, tmp_path: Path) -> None:
    with hydra_configs():
        travels = compose([f"dataset={name}"]).dataset.root is None and name != "image_folder"
        config = planned(
            compose([f"dataset={name}", *([] if travels else [f"dataset.root={tmp_path}"])]), check=True
        ).config
    node = config["dataset"]
    assert node["root"] == (None if travels else str(tmp_path)) and config["choices"]["dataset"] == name
    assert config["threat"]["eps"] == node["eps"] and 0 < node["eps"] < 1
    assert config["trainer"]["max_epochs"] == node["epochs"] >= 1
    assert node["source"]["_target_"].rpartition(".")[2] == name and node["seed"] == config["seed"]
    assert name == "image_folder" or (node["classes"] >= 2 and len(node["image_shape"]) == 3)


# Backbones ---------------------------------------------------------------------------------------------------------------

# What a key of a backbone's config becomes where only its behaviour is looked at: the papers' own sizes take minutes.
SMALLER: dict[str, Callable[[Any], Any]] = {
    "depths": lambda depths: [1] * len(depths),
    "widths": lambda widths: [1] * len(widths),
    "channels": lambda channels: eighth(channels),
    "stem_channels": lambda channels: eighth(channels),
    "width": lambda width: width / 4,
    "blocks": lambda blocks: 1 if isinstance(blocks, int) else blocks,
    "cells": lambda cells: 3,
    "modules": lambda modules: 3,
    "genotype": lambda name: three_places(name),
    "base": lambda node: smaller(node),
}


def smaller(node: dict[str, Any]) -> dict[str, Any]:
    found = node | {key: change(node[key]) for key, change in SMALLER.items() if key in node}
    # A dilation reduces nothing: a cell, and one behind it, are all it has beside every block.
    return found | {"cells": 2} if "base" in node else found


def eighth(channels: Any) -> Any:
    if isinstance(channels, list):
        return [eighth(item) for item in channels]
    # No fewer than 8: what torch does to a strided 1x1 convolution of fewer in channels_last, see lit.trainer.
    return max(8, channels // 8)


def three_places(name: str) -> str:
    """A genotype that has a cell for each place keeps the first reduction and its neighbours."""
    genotype = resolve(name)
    if genotype.layout != "each":
        return name
    first = reductions(len(genotype.cells))[0]
    kept = genotype.cells[first - 1 : first + 2]
    return robnet_code.encode(dataclasses.replace(genotype, cells=kept))


every_backbone = each_composed(BACKBONES)


def backbone(name: str, classes: int = 5, channels: int = 3) -> nn.Module:
    node = smaller(composed(f"backbone={name}")["backbone"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make("backbone", node, classes=classes, in_channels=channels)


def moved(net: nn.Module) -> nn.Module:
    """The network off its first weights: where a scale starts at zero, nothing before it gets a gradient."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.01
    return net


def idle_parameters(net: nn.Module) -> set[str]:
    """Parameters that need not learn, for what they add is taken away again.

    A convolution's bias, by the norm behind it. The shift of a norm that ends a branch, block or shortcut of DS-Net and Ada-RK
    networks, by the norms that every later block begins with or ends with; so too that of the norm that a dilation ends with. Ada-RK's
    a21, by its own formula.
    """
    idle = {f"{name}.bias" for name, module in net.named_modules() if isinstance(module, nn.Conv2d)}
    idle |= {f"{name}.a21" for name, module in net.named_modules() if isinstance(module, ArkBlock)}
    if isinstance(net, (DSNet, ArkNet)):
        idle |= {name for name, _ in net.named_parameters() if name.endswith(("norm.bias", "project.1.bias"))}
    if isinstance(net, Dilated):
        idle.add([name for name, _ in net.named_parameters() if name.startswith("dilation")][-1])
    return idle


def pictures(count: int, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@every_backbone
@pytest.mark.parametrize(("classes", "shape"), [(2, (1, 8, 8)), (100, (3, 16, 16)), (2, (3, 17, 20))])
def test_a_backbone_gives_logits_and_gradients_to_every_parameter_and_image(
    name: str, classes: int, shape: tuple
) -> None:
    torch.manual_seed(0)  # of some weights a narrow layer is dead on these four images
    net = moved(backbone(name, classes, shape[0])).train()
    x = pictures(4, *shape).requires_grad_()
    logits = net(x)
    assert logits.shape == (4, classes) and torch.isfinite(logits).all()
    nn.functional.cross_entropy(logits, torch.arange(4) % classes).backward()
    idle = idle_parameters(net)
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any() or key in idle, key
    assert (x.grad.flatten(1).abs().amax(1) > 0).all()


@every_backbone
def test_a_backbone_s_state_comes_back(name: str) -> None:
    net, twin = backbone(name).train(), backbone(name)
    moved(net)(pictures(4, 3, 32, 32))
    twin.load_state_dict(net.state_dict())
    x = pictures(2, 3, 32, 32, seed=1)
    assert torch.equal(net.eval()(x), twin.eval()(x))


@every_backbone
def test_a_backbone_in_eval_mode_judges_each_image_alone(name: str) -> None:
    net, x = backbone(name).double(), pictures(5, 3, 32, 32, dtype=torch.float64)
    net.train()(pictures(8, 3, 32, 32, seed=3, dtype=torch.float64))
    net.eval()
    with torch.no_grad():
        whole = net(x)
        alone = torch.cat([net(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, whole, rtol=1e-10, atol=1e-10)


@every_backbone
def test_a_backbone_s_multiply_adds_can_be_counted_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        empty = backbone(name)
    counted = macs(empty, (3, 32, 32))
    assert counted == macs(backbone(name), (3, 32, 32)) > parameters(backbone(name))


@cache
def captured_ones() -> set[str]:
    """Networks that hold a kind of module, or are one, that no smaller one holds: a capture takes seconds, and reads code, not sizes."""
    held: dict[str, list[str]] = {}
    for name in BACKBONES:
        with torch.device("meta"):
            net = make("backbone", smaller(papers.node(name, "")), classes=5, in_channels=3)
        # A network within another's is not run as a whole there.
        held[name] = [f"network {kind(net)}", *(kind(module) for module in net.modules())]
    chosen, known = set(), set[str]()
    for name in sorted(held, key=lambda name: len(held[name])):
        if not known.issuperset(held[name]):
            chosen.add(name)
            known |= set(held[name])
    return chosen


def kind(module: nn.Module) -> str:
    """The class, and of a layer of torch what it is told besides: dilation, groups, ceil_mode, no number among it."""
    said = re.sub(r"\d+|(?:BatchNorm2d|Linear)\(.*", "", repr(module).splitlines()[0])
    return f"{type(module).__qualname__} {said}"


@every_backbone
def test_a_backbone_runs_under_channels_last_bf16_and_graph_capture(name: str) -> None:
    net, x = backbone(name).eval(), pictures(3, 3, 32, 32)
    with torch.no_grad():
        expected = net(x)
        if name in captured_ones():
            # What was compiled for the other networks of the same class counts against a limit.
            torch.compiler.reset()
            compiled = torch.compile(net, backend="eager", fullgraph=True)(x)
            torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x)
        last = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert half.dtype == torch.bfloat16
    scale = float(expected.abs().max())
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=0.05 * scale)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-5)


@every_backbone
@pytest.mark.parametrize("form", ["fp32", "bf16", "channels_last"])
def test_a_backbone_takes_an_adversarial_step_in_training(name: str, form: str) -> None:
    net, x, y = moved(backbone(name)).train(), pictures(4, 3, 16, 16), torch.arange(4)
    if form == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    inner, seen = attack("pgd10", most={"steps": 2}), []

    def watched(*args: Any, **options: Any) -> Tensor:
        seen.append(inner(*args, **options))
        return seen[-1]

    with torch.autocast("cpu", torch.bfloat16, enabled=form == "bf16"):
        output = defense("pgd_at")(net, x, y, attack=watched, step=TrainStep(generator=streams(4)))
    output.total.backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert torch.isfinite(output.total) and len(seen) == 1
    assert 0 < (seen[0] - x).abs().max() <= EPS * (1 + 1e-6)
    idle = idle_parameters(net)
    for key, parameter in net.named_parameters():
        assert torch.isfinite(parameter).all(), key
        assert not torch.equal(parameter, before[key]) or key in idle, key


# Attacks -----------------------------------------------------------------------------------------------------------------

MOST = {"steps": 4, "queries": 25, "search_steps": 2, "restarts": 2, "eot_samples": 2, "weight_steps": 2}
every_attack = each_composed(ATTACKS)
every_norm = pytest.mark.parametrize("norm", ["inf", 2])


def changed(node: Any, most: dict[str, int], norm: str | int, eps: float) -> Any:
    """The settings with numbers cut to at most those, in another ball, lengths of steps in proportion to its radius."""
    if isinstance(node, list):
        return [changed(item, most, norm, eps) for item in node]
    if not isinstance(node, dict):
        return node
    found = {}
    for key, value in node.items():
        if key == "threat":
            found[key] = {"_target_": "advarch.threat.Threat", "norm": str(norm), "eps": eps}
        elif key in most and value is not None:
            found[key] = min(value, most[key])
        elif key in ("step_size", "random_step") and value is not None:
            found[key] = value * eps / EPS
        elif key == "decay_at":
            found[key] = [min(v, (i + 2) * most["steps"] // 4) for i, v in enumerate(value)]
        else:
            found[key] = changed(value, most, norm, eps)
    return found


def attack(
    name: str, norm: str | int = "inf", eps: float = EPS, most: dict[str, int] = MOST
) -> Callable[..., Tensor]:
    node = composed(f"attack={name}", f"threat.eps={EPS}")["attack"]
    return make("attack", changed(node, most, norm, eps))


def victim(classes: int = 10) -> nn.Module:
    """Small, in double precision, with batch normalisation, one frozen parameter, and logits that tell images apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(3, 6, 3, 2),
            nn.BatchNorm2d(6),
            nn.Softplus(beta=5),
            nn.Flatten(),
            nn.Linear(54, classes),
        ]
        net = nn.Sequential(*layers).double().train()
    with torch.no_grad():
        for _ in range(20):
            net(scenes(40))
        net.eval()
        logits = net(scenes(40))
        net[4].bias -= logits.mean(0)
        scale = 4 / (logits - logits.mean(0)).std()
        net[4].weight *= scale
        net[4].bias *= scale
    net[0].bias.requires_grad_(False)
    return net


def scenes(count: int) -> Tensor:
    return (1.2 * pictures(count, 3, 8, 8, dtype=torch.float64) - 0.1).clamp(0, 1)


def streams(index: Tensor | int) -> ExampleGenerator:
    return ExampleGenerator(3, torch.arange(index) if isinstance(index, int) else index)


def labels(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x).argmax(1)


def snapshot(net: nn.Module) -> list:
    flags: list = [module.training for module in net.modules()]
    flags += [(p.requires_grad, p.grad is None or p.grad.clone().tolist()) for p in net.parameters()]
    return [*flags, *(value.tolist() for value in net.state_dict().values())]


@every_norm
@every_attack
def test_an_attack_stays_in_ball_and_box_and_is_never_weaker_than_none(name: str, norm) -> None:
    net, x = victim(), scenes(8)
    y = labels(net, x)
    y[0] = (y[0] + 1) % 10
    x_adv = attack(name, norm)(net, x, y, generator=streams(8))
    assert x_adv.shape == x.shape and x_adv.dtype == x.dtype and not x_adv.requires_grad
    assert torch.isfinite(x_adv).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert (Threat(norm, EPS).distance(x_adv, x) <= EPS * (1 + 1e-6)).all()
    assert (labels(net, x_adv) == y).sum() <= (labels(net, x) == y).sum()


@every_attack
def test_an_attack_leaves_model_images_and_random_state_as_found(name: str) -> None:
    net, x = victim(), scenes(4)
    y = labels(net, x)
    net.train()
    net[1].eval()
    net[4].weight.grad = torch.ones_like(net[4].weight)
    before, images, state = snapshot(net), x.clone(), torch.get_rng_state()
    attack(name)(net, x, y, generator=streams(4))
    assert snapshot(net) == before and torch.equal(x, images) and not x.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


@every_attack
def test_an_attack_s_images_are_a_function_of_generator_and_image(name: str) -> None:
    net, x = victim(), scenes(6)
    y = labels(net, x)
    whole = attack(name)(net, x, y, generator=streams(6))
    assert torch.equal(attack(name)(net, x, y, generator=streams(6)), whole)
    part = torch.tensor([4, 1])
    alone = attack(name)(net, x[part], y[part], generator=streams(part))
    torch.testing.assert_close(alone, whole[part], rtol=0, atol=1e-7)


@every_norm
@every_attack
def test_an_attack_of_radius_zero_gives_the_clean_image(name: str, norm) -> None:
    net, x = victim(), scenes(4)
    x_adv = attack(name, norm, 0.0)(net, x, labels(net, x), generator=streams(4))
    torch.testing.assert_close(x_adv, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 100])
@every_attack
def test_an_attack_works_for_any_number_of_classes(name: str, classes: int) -> None:
    net, x = victim(classes), scenes(3)
    x_adv = attack(name)(net, x, labels(net, x), generator=streams(3))
    assert torch.isfinite(x_adv).all() and (x_adv - x).abs().max() <= EPS + 1e-9


@every_norm
@every_attack
def test_an_attack_on_no_images_gives_none(name: str, norm) -> None:
    net, none = victim(), scenes(0)
    x_adv = attack(name, norm)(net, none, torch.zeros(0, dtype=torch.long), generator=streams(0))
    assert x_adv.shape == none.shape


@every_attack
def test_an_attack_refuses_images_outside_the_box(name: str) -> None:
    net = victim()
    for bad in (scenes(2) * 255, scenes(2) - 0.5):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            attack(name)(net, bad, torch.zeros(2, dtype=torch.long), generator=streams(2))
    # Where the annotations of shapes are executed, they refuse bytes before the attack does.
    with pytest.raises((ValueError, TypeCheckError), match=r"divide 8-bit images by 255|Float"):
        attack(name)(
            net, torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long(), generator=streams(2)
        )


ENOUGH = {
    "steps": 100,
    "queries": 1000,
    "search_steps": 9,
    "restarts": 2,
    "eot_samples": 2,
    "weight_steps": 25,
}

# Share of eps within which the boundary of a linear model has to lie for these to cross it for certain; the others need 0.98.
BLUNT = {
    "rfgsm": 0.3,  # half of the radius goes into a random direction
    "rfgsm_iterated": 0.0,  # the random step and the gradient's cancel
    "cw_l2_weak": 0.0,  # its constant is too small to cross anything
    "square": 0.7,  # a random search of few queries
}


def beside_the_boundary(norm: str | int, count: int = 24) -> tuple[Linear, Tensor, Tensor]:
    """A linear model of two classes, and images at distances from nought to 0.3 from its boundary."""
    model = Linear(2)
    slope = (model.weight[1] - model.weight[0]).detach()
    direction = slope.sign() if norm == "inf" else slope / slope.norm()
    generator = torch.Generator().manual_seed(1)
    along = torch.linspace(-0.3, 0.3, count, dtype=torch.float64)[:, None] * direction
    noise = 0.02 * torch.rand(count, slope.numel(), generator=generator, dtype=torch.float64)
    x = (0.5 + along + noise).view(count, 3, 4, 4)
    return model, x, labels(model, x)


@every_attack
def test_an_attack_crosses_a_linear_boundary_exactly_where_it_can_be_crossed(name: str) -> None:
    norm: str | int = 2 if name.startswith("cw_l2") else "inf"
    model, x, y = beside_the_boundary(norm)
    distance = model.distance(x, y, dual=1 if norm == "inf" else 2)
    # Where the closed form can be reached without leaving the box.
    assert x.min() - EPS >= 0 or norm == 2
    fooled = labels(model, attack(name, norm, most=ENOUGH)(model, x, y, generator=streams(len(x)))) != y
    assert not fooled[distance > EPS * (1 + 1e-9)].any(), "it left the ball"
    near = distance < EPS * BLUNT.get(name, 0.98)
    assert 4 <= (distance < EPS * 0.98).sum() <= len(x) - 4
    assert fooled[near].all(), (distance[near & ~fooled] / EPS).tolist()


def test_the_blunt_attacks_are_still_there() -> None:
    assert set(BLUNT) <= set(ATTACKS)


# Defenses ----------------------------------------------------------------------------------------------------------------

every_defense = each_composed(DEFENSES)


ATTACKED_BY = {
    "fat": "friendly_pgd",
    "fat_trades": "friendly_pgd",
    "fat_mart": "friendly_pgd",
    "iaat": "instance_pgd",
}
"""Defenses that need an attack of their own; the others are run with pgd10."""


def defense(name: str, classes: int = 10) -> Callable:
    """The defense as training runs it: its memory begun, its teachers there."""
    node = composed(f"defense={name}")["defense"]
    made = make("defense", node)
    if "teachers" in node:
        made = partial(made, teachers=teachers(classes))
    if isinstance(made, Remembers):
        made.start(images=8, device=torch.device("cpu"), rank=0, world_size=1)
    return made


def step(count: int) -> TrainStep:
    return TrainStep(torch.arange(count), generator=torch.Generator().manual_seed(0))


@every_defense
def test_a_defense_gives_a_finite_scalar_and_a_gradient_to_every_parameter(name: str) -> None:
    net, x = victim().train(), scenes(6)
    net[0].bias.requires_grad_(True)
    y = torch.arange(6)
    output = defense(name)(net, x, y, attack=attack(ATTACKED_BY.get(name, "pgd10")), step=step(6))
    assert output.total.shape == () and torch.isfinite(output.total) and output.logits.shape == (6, 10)
    assert not output.logits.requires_grad and all(torch.isfinite(term) for term in output.terms.values())
    output.total.backward()
    for key, parameter in net.named_parameters():
        # A convolution's bias before a norm shifts what the norm takes away again.
        assert parameter.grad is not None and (parameter.grad.any() or key == "0.bias"), key


@every_defense
def test_a_defense_keeps_as_many_passes_for_its_backward_pass_as_the_memory_estimate_says(name: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    x, y = pictures(5, 1, 6, 6), torch.arange(5) % 4
    output = defense(name, classes=4)(net, x, y, attack=attack(ATTACKED_BY.get(name, "pgd10")), step=step(5))
    seen, waiting = set(), [output.total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    kept = sum(node.name() == "AddmmBackward0" for node in seen)
    config = composed(f"defense={name}") | {"averaging": None}
    one, none = (training_memory(config, Size(0, 1, activations=number)) for number in (1, 0))
    assert one - none == kept * config["dataset"]["batch_size"]


@every_defense
def test_a_defense_restores_modes_and_leaves_random_state_and_gradients_alone(name: str) -> None:
    net, x = victim().train(), scenes(6)
    net[1].eval()
    before, state = snapshot(net), torch.get_rng_state()
    made = defense(name)
    made(net, x, torch.arange(6), attack=attack(ATTACKED_BY.get(name, "pgd10")), step=step(6))
    if isinstance(made, AfterBackward):
        made.after_backward(net)
    assert snapshot(net) == before and torch.equal(torch.get_rng_state(), state)


@every_defense
def test_a_defense_as_configured_equals_a_reference_written_plainly(name: str) -> None:
    assert name in PLAIN, f"write {name} plainly in a file of tests/defenses, in its PLAIN"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    x, y = pictures(5, 1, 6, 6, dtype=torch.float64), torch.arange(5) % 4
    expected, logits = PLAIN[name](net, x, y)
    output = defense(name, classes=4)(net, x, y, attack=FakeAttack(), step=step(5))
    torch.testing.assert_close(output.total, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(output.logits, logits.detach(), rtol=1e-9, atol=1e-9)


# What may be imported ----------------------------------------------------------------------------------------------------


def imported_by(code: str) -> set[str]:
    """Names of the top-level modules that a fresh interpreter holds after the code."""
    script = (
        f"import sys\n{code}\nprint(); print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


PACKAGE = Path(__file__).parents[2] / "src" / "advarch"
LIGHT = ["records", "errors", "files", *(
    f"{room}.{path.stem}" for room in ("launch", "reports") for path in sorted((PACKAGE / room).glob("[!_]*.py"))
)]  # fmt: skip


def test_records_launch_and_reports_import_no_torch() -> None:
    assert len(LIGHT) >= 3 + 3 + 15
    found = imported_by("\n".join(f"import advarch.{name}" for name in LIGHT))
    assert "advarch" in found and not found & {
        "torch",
        "torchvision",
        "pytorch_lightning",
        "lightning",
        "timm",
    }


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]], ids=str)
def test_help_imports_neither_torch_nor_hydra_nor_lightning(arguments: list[str]) -> None:
    code = f"""
import runpy
sys.argv = ["advarch", *{arguments!r}]
try:
    runpy.run_module("advarch.cli.main", run_name="__main__")
except SystemExit as end:
    assert end.code == 0, end.code
"""
    found = imported_by(code)
    assert "advarch" in found
    assert not found & {
        "torch",
        "hydra",
        "omegaconf",
        "pytorch_lightning",
        "lightning",
        "numpy",
        "matplotlib",
        "wandb",
    }


def test_help_names_every_group_choice_and_sweep() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "advarch.cli.main", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    words = set(done.stdout.replace(",", " ").split())
    assert {*BACKBONES, *ATTACKS, *DEFENSES, *DATASETS, *SWEEPS, *(name for _, name in OTHERS)} <= words
    assert {"backbone", "attack", "defense", "dataset"} <= words
