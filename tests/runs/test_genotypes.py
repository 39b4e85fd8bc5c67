"""A genotype named by a file travels inside the config, so that the digest is of the cells and not of a path."""

import shutil
from pathlib import Path

import pytest

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.errors import InputError
from advarch.genotype import stored
from advarch.genotype.published import published
from advarch.runs.config import dump, experiment_digest


def config(genotype: object) -> dict:
    with hydra_configs():
        words = [
            "backbone=cell_net",
            f"backbone.genotype={genotype}",
            "backbone.channels=2",
            "backbone.cells=3",
        ]
        return planned(compose(words), check=True).config


def test_the_digest_follows_the_content_and_not_the_path(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    stored.write(published("darts_v2"), one)
    shutil.copy(one, two)
    first = config(one)
    assert first["backbone"]["genotype"] == stored.to_plain(published("darts_v2"))
    assert str(tmp_path) not in dump(first)
    assert experiment_digest(config(two)) == experiment_digest(first)
    stored.write(published("darts_v1"), two)
    assert experiment_digest(config(two)) != experiment_digest(first)


def test_a_name_stays_a_name() -> None:
    assert config("darts_v1")["backbone"]["genotype"] == "darts_v1"


def test_a_file_that_holds_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^backbone\.genotype: expected a readable file, came .*none\.json"):
        config(tmp_path / "none.json")


def test_a_code_stays_as_it_is_written_and_a_wrong_one_is_named_by_its_key() -> None:
    code = "11 10 | 11 11 10 | 11 01 01 10 | 11 11 00 11 01"
    assert config(f"'{code}'")["backbone"]["genotype"] == code
    with pytest.raises(
        InputError, match=r"^backbone\.genotype: code: expected bits, blanks and bars, came '-x'"
    ):
        config("11-1x")
