"""Every file of conf/dataset/ names a reader and gives exactly the keys that load takes."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from advarch.datasets.load import load

FOLDER = Path(__file__).parents[2] / "conf" / "dataset"
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.yaml"))


def merged(name: str) -> dict:
    shared, own = (yaml.safe_load((FOLDER / f"{each}.yaml").read_text()) for each in ("_shared", name))
    assert own.pop("defaults") == ["_shared", "_self_"]
    return shared | own


def test_the_group_is_complete():
    expected = "cifar10 cifar100 cifar10_500k digits image_folder imagenet mnist5k mnist5k_guessed mnist_m svhn tiny_imagenet"
    assert sorted(expected.split()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_keys_are_those_of_load_and_of_the_reader(name):
    config = merged(name)
    assert config.pop("_target_") == "advarch.datasets.load.load"
    assert set(config) == set(inspect.signature(load).parameters)
    source = config["source"]
    module, function = source.pop("_target_").rsplit(".", 1)
    assert function == name
    assert source.pop("_partial_") is True
    taken = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert set(source) <= set(taken)
    assert config["seed"] == "${seed}"
    assert config["image_size"] is None or "image_size" in taken
    assert ("root" in taken) == (config["root"] is not None or name == "image_folder")


def test_every_dataset_has_its_customary_threat():
    found = {name: merged(name)["eps"] for name in NAMES}
    px8 = dict.fromkeys(["cifar10", "cifar100", "cifar10_500k", "svhn", "mnist_m", "image_folder"], "${px:8}")
    px4 = dict.fromkeys(["tiny_imagenet", "imagenet"], "${px:4}")
    assert found == px8 | px4 | {"mnist5k": 0.3, "mnist5k_guessed": 0.3, "digits": 0.2}


def test_pictures_of_digits_are_not_mirrored():
    assert {name for name in NAMES if not merged(name)["flip"]} == {
        "digits",
        "mnist5k",
        "mnist5k_guessed",
        "mnist_m",
        "svhn",
    }
    assert {name for name in NAMES if merged(name)["crop_pad"] == 0} == {
        "digits",
        "mnist5k",
        "mnist5k_guessed",
        "mnist_m",
        "imagenet",
    }


def test_every_value_says_where_it_comes_from():
    for path in FOLDER.glob("*.yaml"):
        for line in path.read_text().splitlines():
            key = line.split(":")[0].strip()
            if line.startswith("#") or key in ("defaults", "source", "_target_", "_partial_"):
                continue
            assert "# " in line, f"{path.name}: {line}"
