"""A genotype named by a file travels inside the config, so that the digest is of the cells and not of a path."""

import shutil
from pathlib import Path

import pytest

from advarch.cli.compose import compose, hydra_configs, planned
from advarch.errors import InputError
from advarch.genotype import stored
from advarch.genotype.published import published
from advarch.genotype.space import Space
from advarch.runs.config import dump, experiment_digest
from advarch.runs.folder import RunFolder
from advarch.runs.genotypes import awaits_search, with_stand_in


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


def test_cells_that_a_search_is_to_find_are_those_of_the_folder_s_genotype_once_it_is_there(
    tmp_path: Path,
) -> None:
    with hydra_configs():
        config = planned(compose(["method=racl", f"outputs={tmp_path}"]), check=False).config
    folder = RunFolder(tmp_path)
    folder.write_config(config)
    assert awaits_search(config) and folder.config()["backbone"]["genotype"] == "search"
    assert not folder.finished("search", config)
    found = published("racl_v1")
    stored.write(found, tmp_path / "genotype.json")
    assert stored.from_plain(folder.config()["backbone"]["genotype"]) == found
    # The file keeps the word, so that the folder is found again by the same digest.
    assert "genotype: search" in folder.config_path.read_text()
    (tmp_path / "genotype.json").write_text("{")
    with pytest.raises(InputError, match=r"genotype\.json: expected JSON"):
        folder.config()


def test_a_stand_in_is_a_cell_of_the_search_s_space_and_only_where_one_is_awaited() -> None:
    with hydra_configs():
        config = planned(compose(["method=racl", "search.supernet.space.nodes=3"]), check=False).config
        other = planned(compose(["search=racl", "backbone=racl_v1"]), check=False).config
    stands = stored.from_plain(with_stand_in(config)["backbone"]["genotype"])
    node = {key: value for key, value in config["search"]["supernet"]["space"].items() if key[0] != "_"}
    assert Space(**node).contains(stands) and with_stand_in(config) == with_stand_in(config)
    assert with_stand_in(other) is other
