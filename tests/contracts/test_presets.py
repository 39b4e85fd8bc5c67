"""Every preset against numbers typed from the papers and, where they are silent, from the authors' code."""

from functools import cache
from typing import Any

import pytest

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.genotype.space import DARTS_OPERATIONS
from advarch.runs.build import make
from advarch.runs.config import data_root

NAMES = sorted(p.stem for p in (data_root("conf") / "method").glob("[!_]*.yaml") if p.stem != "none")

Values = dict[str, Any]


def sgd(weight_decay: float, batch: int = 128, *, momentum: float = 0.9, nesterov: bool = False) -> Values:
    """Every paper trains with SGD."""
    return {
        "optimizer.weight_decay": weight_decay,
        "optimizer.momentum": momentum,
        "optimizer.nesterov": nesterov,
        "dataset.batch_size": batch,
    }


def attack(eps: float, steps: int, step_size: float, start: str, **more: float) -> Values:
    values: Values = {"threat.eps": eps, "attack.steps": steps, "attack.step_size": step_size}
    values |= {"attack.start._target_": f"advarch.threat.{start}_start"}
    return values | {f"attack.{key}": value for key, value in more.items()}


def loss(name: str, **settings: Any) -> Values:
    return {"defense._target_": f"advarch.defenses.{name}"} | {
        f"defense.{key}": value for key, value in settings.items()
    }


def rates(epochs: int, by_epoch: dict[float, float]) -> Values:
    """Learning rates at epochs counted from 0."""
    return {"trainer.max_epochs": epochs, "rates": by_epoch}


MADRY = attack(8 / 255, 7, 2 / 255, "uniform") | loss("pgd_at.pgd_at", bn_mode="train") | sgd(2e-4)
"""MadryLab/cifar10_challenge, config.json: 80,000 steps, weight decay 2e-4, batch 128; the paper's 7 steps of 2."""

# RobustWRN: section 4 gives eps 8/255, 10 steps of 2/255; the rest its released YAML files and main.py.
ROBUSTWRN = (
    attack(8 / 255, 10, 2 / 255, "uniform") | sgd(2e-4) | {"trainer.grad_clip": 5.0}
    | rates(100, {0: 0.1, 74: 0.1, 75: 0.01, 89: 0.01, 90: 0.001, 99: 0.001})
)  # fmt: skip
GAUSSIAN = {"attack.start._target_": "advarch.threat.gaussian_start"}
RST = loss("trades.trades", beta=6.0, start_std=0.001, bn_mode="eval") | {
    "choices.dataset": "cifar10_500k",
    "dataset.pseudo_share": 0.5,
    "trainer.grad_clip": None,
}
ROBUSTWRN_RST = (
    RST | attack(8 / 255, 10, 2 / 255, "gaussian") | sgd(5e-4, 256)
    | rates(400, {0: 0.1, 0.9: 0.1, 200: 0.05, 300: 0.1 * 0.14644660940672624})
)  # fmt: skip

# DS-Net, section 4.1: eps 0.031, 10 steps of 0.007 (SVHN 0.003), SGD 0.1, 0.9, 5e-4, batch 128; epochs 20 less on SVHN.
DSNET = (
    attack(0.031, 10, 0.007, "uniform") | sgd(5e-4) | {"trainer.grad_clip": None, "defense.bn_mode": "eval"}
)
DSNET_AT = DSNET | loss("pgd_at.pgd_at") | rates(120, {59: 0.1, 60: 0.01, 89: 0.01, 90: 1e-3, 119: 1e-3})
DSNET_TRADES = DSNET | GAUSSIAN | loss("trades.trades", beta=6.0, start_std=0.001)
DSNET_TRADES |= rates(85, {74: 0.1, 75: 0.01, 84: 0.01})
DSNET_MART = DSNET | loss("mart.mart", beta=6.0, start_std=None) | rates(90, {59: 0.1, 60: 0.01, 89: 0.01})
SVHN = {"choices.dataset": "svhn", "attack.step_size": 0.003, "dataset.flip": False}
SVHN_CODE = {"choices.dataset": "svhn", "attack.step_size": 0.0031, "dataset.flip": True}
NOISE = {
    "attack._target_": "advarch.attacks.friendly_pgd.friendly_pgd",
    "attack.tau": 10,
    "attack.noise_std": 1e-3,
}
# Its code counts epochs from 1 and lowers the rate from 60, 90 and 110 on.
DSNET_AT_CODE = DSNET_AT | NOISE | rates(120, {58: 0.1, 59: 0.01, 88: 0.01, 89: 1e-3, 108: 1e-3, 109: 5e-4})
DSNET_TRADES_CODE = DSNET_TRADES | NOISE | {"attack.start._target_": "advarch.threat.uniform_start"}
DSNET_TRADES_CODE |= rates(85, {73: 0.1, 74: 0.01})

# RACL, section 4.1: 100 epochs, batch 128, 0.1, 0.9, 2e-4, clipping 5, a weight of 6; the decays are RobustWRN's.
RACL = ROBUSTWRN

# The searches, section 4.1 of RACL, "follow the setups of PC-DARTS"; DARTS, appendix A.1.1: 8 cells of 16 channels and 4 nodes for 50
# epochs; the retrained network has 20 cells.
RETRAINED = RACL | GAUSSIAN | loss("mart.mart", beta=6.0) | {"backbone.cells": 20}
SEARCHED = {
    "stages": ["search", "train", "evaluate"],
    "backbone.genotype": "search",
    "search.epochs": 50,
    "search.grad_clip": 5.0,
    "search.supernet.cells": 8,
    "search.supernet.channels": 16,
    "search.supernet.space.nodes": 4,
    "search.optimizer.momentum": 0.9,
    "search.optimizer.weight_decay": 3e-4,
    "search.arch_optimizer.betas": [0.5, 0.999],
    "search.arch_optimizer.weight_decay": 1e-3,
}


def searched(
    method: str, batch: int, partial_channels: int, lr: float, min_lr: float, arch_lr: float
) -> Values:
    return {
        "search.method._target_": f"advarch.search.{method}",
        "search.batch_size": batch,
        "search.supernet.partial_channels": partial_channels,
        "search.optimizer.lr": lr,
        "search.min_lr": min_lr,
        "search.arch_optimizer.lr": arch_lr,
    }


# RobNet, section 4.1 and Table 5; weight decay and batch of Madry et al., "the training procedure as in [21]".
ROBNET = MADRY | rates(200, {99: 0.1, 100: 0.01, 149: 0.01, 150: 1e-3})
ROBNET_CODE = MADRY | sgd(1e-4, 1536)
# Section 3: the space, PGD-7 of the supernet, the large budget, 3 epochs of fine-tuning. Appendix F: 50 candidates, density, direct.
ROBNET_SEARCH = {
    "search.supernet.space.nodes": 4, "search.supernet.space.inputs": None,
    "search.attack.steps": 7, "search.attack.step_size": 2 / 255, "search.optimizer.lr": 0.1, "search.min_lr": 0.001 / 12,
    "search.candidates.epochs": 3, "search.candidates.inherit": True, "search.candidates.sampler.count": 50,
    "search.candidates.sampler.convolutions": [11, 14], "search.candidates.sampler.density": 0.5,
    "search.candidates.sampler.direct": 0.5, "stages": ["search", "train", "evaluate"],
}  # fmt: skip
TINY = {"choices.dataset": "tiny_imagenet"}

# NADAR, section 5.2: 4 steps of 2/255 at 4/255 on Tiny-ImageNet in the ImageNet setting of Shafahi et al.
SHAFAHI = sgd(1e-4, 256) | {"threat.eps": 4 / 255}
NADAR_PGD7 = MADRY | rates(200, {99: 0.1, 100: 0.01, 149: 0.01, 150: 1e-3})

# The methods' own repositories.
TRADES = (
    attack(0.031, 10, 0.007, "gaussian", **{"start.std": 0.001}) | sgd(2e-4) | rates(76, {74: 0.1, 75: 0.01})
    | loss("trades.trades", beta=6.0, start_std=0.001, bn_mode="eval")
)  # fmt: skip
MART = (
    attack(0.031, 10, 0.007, "gaussian") | loss("mart.mart", beta=6.0, start_std=0.001, bn_mode="eval")
    | sgd(7e-4) | rates(90, {74: 0.1, 75: 0.01, 89: 0.01})
)  # fmt: skip
FAT = (
    attack(0.031, 10, 0.007, "uniform", noise_std=0.001) | loss("fat.fat", taus=[0, 1, 2], bn_mode="eval")
    | {"taus_from": [50, 90], "attack._target_": "advarch.attacks.friendly_pgd.friendly_pgd"} | sgd(2e-4)
    | rates(120, {59: 0.1, 60: 0.01, 89: 0.01, 90: 1e-3, 109: 1e-3, 110: 5e-4, 119: 5e-4})
)  # fmt: skip
FAT_TRADES = (
    FAT | loss("fat_trades.fat_trades", taus=[0, 1, 2, 3], beta=6.0, start_std=0.001)
    | {"taus_from": [30, 50, 70], "attack.noise_std": 0.0} | rates(85, {74: 0.1, 75: 0.01})
)  # fmt: skip
FAT_MART = (
    FAT | loss("fat_mart.fat_mart", taus=[0, 1, 2, 3, 4], beta=6.0, start_std=0.001)
    | {"taus_from": [20, 40, 60, 80], "attack.noise_std": 0.0} | rates(90, {59: 0.1, 60: 0.01, 89: 0.01})
)  # fmt: skip
IAAT = (
    attack(8 / 255, 10, 2 / 255, "uniform")
    | loss("iaat.IAAT", eps=8 / 255, gamma=1.9 / 255, beta=0.1, warm_up=10 / 110, bn_mode="train")
    | {"attack._target_": "advarch.attacks.instance_pgd.instance_pgd"} | sgd(5e-4, 256)
    | rates(110, {69: 0.1, 70: 0.02, 89: 0.02, 90: 4e-3, 99: 4e-3, 100: 8e-4})
)  # fmt: skip
SWA = (
    attack(8 / 255, 10, 2 / 255, "uniform") | sgd(5e-4) | {"dataset.val_fraction": 0.1, "defense.bn_mode": "train"}
    | rates(200, {49: 0.1, 50: 0.01, 149: 0.01, 150: 1e-3})
    | {"averaging._target_": "advarch.lit.averaging.Swa", "averaging.start": 55 / 200}
)  # fmt: skip
FREE = (
    sgd(2e-4) | {"threat.eps": 8 / 255} | rates(26, {12: 0.1, 13: 0.01, 18: 0.01, 20: 1e-3})
    | loss("free.Free", replays=8, step_size=8 / 255)
)  # fmt: skip
FREE_IMAGENET = (
    SHAFAHI | rates(23, {7: 0.1, 8: 0.01, 15: 0.01, 16: 1e-3})
    | loss("free.Free", replays=4, step_size=4 / 255)
)  # fmt: skip
FAST = (
    sgd(5e-4) | {"threat.eps": 8 / 255} | rates(15, {0: 0.0, 3.75: 0.1, 7.5: 0.2, 11.25: 0.1})
    | loss("fast.fast", step_size=10 / 255)
)  # fmt: skip

TABLE: dict[str, Values] = {
    "robustwrn_sat": ROBUSTWRN | loss("pgd_at.pgd_at", bn_mode="eval"),
    "robustwrn_sat_code": ROBUSTWRN | GAUSSIAN | loss("pgd_at.pgd_at") | {"attack.start.std": 2 / 255},
    "robustwrn_trades": ROBUSTWRN | GAUSSIAN | loss("trades.trades", beta=6.0, start_std=0.001, bn_mode="eval"),
    "robustwrn_mart": ROBUSTWRN | GAUSSIAN | loss("mart.mart", beta=6.0, start_std=0.001, bn_mode="eval"),
    "robustwrn_mart_code": ROBUSTWRN | GAUSSIAN | loss("mart.mart", beta=6.0, start_std=2 / 255),
    "robustwrn_rst": ROBUSTWRN_RST,
    "robustwrn_rst_ema": ROBUSTWRN_RST
    | {"averaging._target_": "advarch.lit.averaging.Ema", "averaging.decay": 0.9999}
    ,
    "dsnet_at": DSNET_AT,
    "dsnet_at_code": DSNET_AT_CODE,
    "dsnet_trades": DSNET_TRADES,
    "dsnet_trades_beta1": DSNET_TRADES | {"defense.beta": 1.0},
    "dsnet_trades_code": DSNET_TRADES_CODE,
    "dsnet_mart": DSNET_MART,
    "dsnet_mart_code": DSNET_MART | rates(90, {58: 0.1, 59: 0.01, 88: 0.01, 89: 1e-3}),
    "dsnet_at_svhn": DSNET_AT | SVHN | rates(100, {39: 0.1, 40: 0.01, 69: 0.01, 70: 1e-3, 99: 1e-3}),
    "dsnet_trades_svhn": DSNET_TRADES | SVHN | rates(65, {54: 0.1, 55: 0.01}),
    "dsnet_trades_beta1_svhn": DSNET_TRADES | SVHN | {"defense.beta": 1.0} | rates(65, {54: 0.1, 55: 0.01}),
    "dsnet_mart_svhn": DSNET_MART | SVHN | rates(70, {39: 0.1, 40: 0.01, 69: 0.01}),
    "dsnet_at_svhn_code": DSNET_AT_CODE | SVHN_CODE
    | rates(100, {38: 0.1, 39: 0.01, 68: 0.01, 69: 1e-3, 88: 1e-3, 89: 5e-4})
    | {"schedule.warmup": 5}
    ,
    "dsnet_trades_svhn_code": DSNET_TRADES_CODE | SVHN_CODE | rates(65, {53: 0.1, 54: 0.01})
    | {"schedule.warmup": 5}
    ,
    "dsnet_mart_svhn_code": DSNET_MART | SVHN_CODE | rates(70, {38: 0.1, 39: 0.01, 68: 0.01, 69: 1e-3})
    | {"schedule.warmup": 5}
    ,
    "racl": RETRAINED | SEARCHED | searched("racl.Racl", 128, 4, 0.1, 0.0, 6e-4)
    | {"search.method.rho": 0.001, "search.method.eta": 0.9, "search.method.warmup": 15}
    ,
    "darts": RETRAINED | SEARCHED | searched("darts.Darts", 64, 1, 0.025, 0.001, 3e-4)
    | {"search.method.warmup": 0, "search.defense._target_": "advarch.defenses.natural.natural"}
    ,
    "pc_darts": RETRAINED | SEARCHED | searched("darts.Darts", 256, 4, 0.1, 0.0, 6e-4)
    | {"search.method.warmup": 15, "search.defense._target_": "advarch.defenses.natural.natural"}
    ,
    "racl_retrain": RACL | GAUSSIAN | loss("mart.mart", beta=6.0),
    "racl_retrain_pgd": RACL | loss("pgd_at.pgd_at"),
    "racl_retrain_trades": RACL | GAUSSIAN | loss("trades.trades", beta=6.0),
    "racl_retrain_tiny_imagenet": RACL | GAUSSIAN | loss("mart.mart", beta=6.0) | TINY
    | {"threat.eps": 4 / 255, "attack.steps": 6, "attack.step_size": 2 / 255},
    # Section 4.6: "randomly sampled 10 models and selected the best one"; all eight operations, four nodes.
    "random": RACL | GAUSSIAN | loss("mart.mart", beta=6.0)
    | {"search.candidates.sampler.count": 10, "search.candidates.epochs": None, "search.space.nodes": 4}
    | {"search.space.operations": list(DARTS_OPERATIONS)}
    ,
    "robnet_at": ROBNET,
    "robnet_at_svhn": ROBNET | {"choices.dataset": "svhn"} | rates(200, {99: 0.01, 100: 1e-3, 150: 1e-4}),
    "robnet_at_tiny_imagenet": ROBNET | TINY | rates(90, {29: 0.1, 30: 0.01, 59: 0.01, 60: 1e-3}),
    "robnet_at_code": ROBNET_CODE | {"trainer.max_epochs": 170}
    | rates(170, {0: 0.02, 10: 0.61, 20: 1.2, 95: 0.6005, 170: 0.001})
    | {"optimizer._target_": "advarch.lit.optimizers.sgd_decay_kernels"}
    ,
    "robnet_large_code": ROBNET_CODE | {"trainer.max_epochs": 170}
    | {"dataset.cutout": 16}
    ,
    "robnet_large_v2_code": ROBNET_CODE | {"trainer.max_epochs": 170, "dataset.batch_size": 1024}
    | rates(170, {0: 0.02, 20: 0.6, 170: 0.001})
    ,
    "robnet": ROBNET | ROBNET_SEARCH,
    "robnet_free": ROBNET | ROBNET_SEARCH | {
        "search.supernet.space.layout": "each", "search.supernet.space.places": 20,
        "search.candidates.sampler.count": 300, "search.candidates.sampler.convolutions": None,
        "search.candidates.sampler.density": 0.0, "search.candidates.sampler.direct": None,
        "search.candidates.gate.threshold": 0.006, "search.candidates.gate.deepest": 10,
        "search.candidates.gate.attack.steps": 7,
    },
    "robnet_free_imagenet": FREE_IMAGENET | {"choices.dataset": "imagenet"},
    "nadar_standard": loss("natural.natural") | sgd(2e-4) | rates(200, {99: 0.1, 100: 0.01, 150: 1e-3}),
    "nadar": NADAR_PGD7
    | {"stages": ["search", "train", "evaluate"], "search.supernet.cells": 3, "backbone.cells": 6},
    "nadar_pgd7": NADAR_PGD7,
    "nadar_fat": FAT,
    "nadar_free": FREE,
    "nadar_fast": FAST,
    "nadar_trades": TRADES,
    "nadar_trades_beta1": TRADES | {"defense.beta": 1.0},
    "nadar_pgd4_tiny_imagenet": TINY | attack(4 / 255, 4, 2 / 255, "uniform") | SHAFAHI
    | rates(90, {29: 0.1, 30: 0.01, 59: 0.01, 60: 1e-3}),
    "nadar_free_tiny_imagenet": FREE_IMAGENET | TINY
    | {"defense.step_size": 2 / 255}
    ,
    "nadar_fast_tiny_imagenet": FAST | TINY | {"threat.eps": 4 / 255, "optimizer.weight_decay": 1e-4}
    | {"defense.step_size": 5 / 255}
    ,
    "madry": MADRY | rates(205, {101: 0.1, 102: 0.01, 153: 0.01, 154: 1e-3}),
    "madry_code": MADRY | {"attack.steps": 10}
    | {"optimizer._target_": "advarch.lit.optimizers.sgd_decay_kernels"}
    ,
    "trades": TRADES,
    "mart": MART,
    "mart_resnet18": MART | {"defense.beta": 5.0, "optimizer.weight_decay": 3.5e-3}
    | rates(120, {74: 0.01, 75: 1e-3, 89: 1e-3, 90: 1e-4, 99: 1e-4, 100: 1e-5}),
    "fat": FAT,
    "fat_trades": FAT_TRADES,
    "fat_trades_beta1": FAT_TRADES | {"defense.beta": 1.0},
    "fat_mart": FAT_MART,
    "iaat": IAAT,
    "rst": RST | attack(0.031, 10, 0.007, "gaussian") | sgd(5e-4, 256, nesterov=True)
    | rates(200, {0: 0.1, 0.9: 0.1, 100: 0.05, 150: 0.1 * 0.14644660940672624}),
    "swa": SWA | loss("pgd_at.pgd_at"),
    "swa_kd": SWA | loss("kd.kd", ce_weight=0.3, standard_weight=0.1, robust_weight=0.6, temperature=2.0),
    "free": FREE,
    "free_imagenet": FREE_IMAGENET | {"choices.dataset": "imagenet"},
    "fast": FAST,
    "fast_imagenet": loss("fast.fast", step_size=5 / 255) | sgd(1e-4) | {"threat.eps": 4 / 255}
    | rates(15, {0: 0.0, 1: 0.4, 6: 0.04, 12: 0.004}) | {"choices.dataset": "imagenet"},
}  # fmt: skip


@cache
def composed(*overrides: str) -> dict[str, Any]:
    with hydra_configs():
        return planned(compose(list(overrides)), check=True).config


def config_of(name: str) -> dict[str, Any]:
    """The preset on CIFAR-10, where the papers give its numbers, unless it chooses a dataset itself, and the table says which."""
    return composed(f"method={name}", *([] if "choices.dataset" in TABLE[name] else ["dataset=cifar10"]))


def look_up(config: dict[str, Any], path: str) -> Any:
    for key in path.split("."):
        config = config[key]
    return config


def test_every_preset_has_its_numbers_here() -> None:
    assert sorted(TABLE) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_holds_the_published_values(name: str) -> None:
    config = config_of(name)
    for path, expected in TABLE[name].items():
        if path == "rates":
            schedule, epochs = make("schedule", config["schedule"]), config["trainer"]["max_epochs"]
            found = {
                epoch: config["optimizer"]["lr"] * schedule(float(epoch), total=epochs) for epoch in expected
            }
            assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)
        elif path == "taus_from":
            shares = config["defense"]["milestones"]
            assert [share * config["trainer"]["max_epochs"] for share in shares] == pytest.approx(expected)
        elif isinstance(expected, float):
            assert look_up(config, path) == pytest.approx(expected, rel=1e-9), path
        else:
            assert look_up(config, path) == expected, path


@pytest.mark.parametrize("name", NAMES)
def test_every_value_of_a_preset_says_where_it_comes_from(name: str) -> None:
    for line in (data_root("conf") / "method" / f"{name}.yaml").read_text().splitlines():
        stripped = line.strip()
        if line.startswith(" " * 6):
            continue  # an item of a list, whose first line names the source
        if (
            not stripped
            or stripped.startswith(("#", "-"))
            or stripped.partition(" #")[0].rstrip().endswith(":")
        ):
            continue
        assert "  #" in line or " # " in stripped, f"{name}: {line}"


@pytest.mark.parametrize("name", ["robustwrn_sat", "fat", "iaat", "dsnet_at_code"])
def test_a_preset_s_decays_shrink_with_the_run(name: str) -> None:
    whole = config_of(name)
    epochs = whole["trainer"]["max_epochs"]
    short = composed(f"method={name}", "dataset=cifar10", f"trainer.max_epochs={epochs // 10}")
    last = [
        make("schedule", c["schedule"])(
            float(c["trainer"]["max_epochs"] - 1), total=c["trainer"]["max_epochs"]
        )
        for c in (whole, short)
    ]
    assert last[0] == pytest.approx(last[1])


def test_a_dataset_on_the_command_line_counts_more_than_the_preset_s() -> None:
    assert composed("method=robnet_at_svhn", "dataset=digits")["choices"]["dataset"] == "digits"
