"""What every search method promises, found by looking into conf/search: it is made from its YAML, steps, and derives a cell."""

import copy
import re
from functools import partial

import pytest
import torch

from advarch.backbones.cell_net import CellNet
from advarch.backbones.dilated import dilated
from advarch.backbones.wide_resnet import WideResNet
from advarch.cli.compose import compose, hydra_configs, planned
from advarch.defenses.natural import natural
from advarch.errors import InputError
from advarch.genotype.stored import to_plain
from advarch.metrics.cost import size
from advarch.runs.build import make
from advarch.runs.config import data_root
from tests.search.small import ATTACK, at, batches

WITHOUT_SUPERNET = {"none", "random", "oracle"}
NAMES = sorted(
    path.stem
    for path in (data_root("conf") / "search").glob("[!_]*.yaml")
    if path.stem not in WITHOUT_SUPERNET
)
STARTS = ("arch.", "stems.", "head.")
"""What a step changes, by how its names begin."""

SMALLER = {"nadar": ["backbone.base.depths=[1,1,1]", "backbone.base.widths=[1,1,1]"]}
LOSS = {name: {"defense": natural, "attack": ATTACK} for name in ("darts", "pc_darts", "robnet")}


def made(name: str):
    """Method and optimizers as the YAML describes them, on a supernet of three narrow cells of one node."""
    with hydra_configs():
        composed = compose([f"search={name}", *SMALLER.get(name, [])])
        node = copy.deepcopy(planned(composed, check=True).config["search"])
    node["supernet"] |= {"cells": 1} if name == "nadar" else {"cells": 3, "channels": 4}
    node["supernet"]["space"]["nodes"] = 1
    torch.manual_seed(0)
    supernet = make("search.supernet", node["supernet"], classes=2, in_channels=1)
    now = {key: 0 for key in ("warmup",) if key in node["method"]}
    method = make("search.method", node["method"] | now, supernet=supernet, **LOSS.get(name, {}))
    paths = {"weights": "optimizer", "arch": "arch_optimizer"}
    optimizers = {
        group: make(f"search.{paths[group]}", node[paths[group]])(parameters)
        for group, parameters in method.parameters().items()
    }
    return method, optimizers


@pytest.mark.parametrize("name", NAMES)
def test_a_search_steps_and_derives_a_cell_of_its_space_that_can_be_built(name: str) -> None:
    method, optimizers = made(name)
    before = copy.deepcopy(method.supernet.state_dict())
    logs = method.step(batches(), optimizers, at(0))
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in logs.values())
    after = method.supernet.state_dict()
    for start in ("arch.", "hybrid.base.", "hybrid.dilation.") if name == "nadar" else STARTS:
        moved = any(not torch.equal(before[key], after[key]) for key in after if key.startswith(start))
        assert moved or (start == "arch." and "arch" not in optimizers), start
    genotype = method.derive(at(1))
    assert method.supernet.space.contains(genotype) and genotype == method.derive(at(1))
    if name == "nadar":
        wide = partial(WideResNet, depths=[1, 1, 1], widths=[1, 1, 1])
        network = partial(dilated, base=wide, cells=1)
    else:
        network = partial(CellNet, cells=3, channels=4)
    build = partial(network, genotype=to_plain(genotype), classes=2, in_channels=1)
    assert size(build, (1, 8, 8)).parameters > 0


def test_every_preset_was_found() -> None:
    assert {"darts", "nadar", "pc_darts", "racl", "robnet"} <= set(NAMES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search=oracle", "search.space.inputs=2"], "sampler.limit: expected a space of at most 200 cells to train each, came one of 768;"),
        (["search=random", "search.space.nodes=1", "search.space.operations=[skip_connect]"], "sampler.count: expected at most 1,"),
        (["search=random", "search.candidates.inherit=true"], "inherit: expected a search with a supernet, came one without;"),
        (["search=random", "search.candidates.epochs=0"], "epochs: expected 1 or more without inherit, came 0;"),
    ],
)  # fmt: skip
def test_candidates_that_can_not_be_are_refused_before_anything_starts(words: list[str], said: str) -> None:
    with (
        hydra_configs(),
        pytest.raises(InputError, match=rf"^search\.candidates\.{re.escape(said)}") as caught,
    ):
        planned(compose(words), check=True)
    assert "\n" not in str(caught.value)
