"""A config is read key by key, each text once: the same as YAML read whole, and no caller sees another's changes."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from advarch.errors import InputError
from advarch.runs.config import LOADER, dump, load

SHARED = [1, 2]
TEXTS = [
    dump(
        {
            "seed": 0,
            "stages": ["train"],
            "a": {"b": [1, {"c": None}], "d": "x: y"},
            "e": "1\n\nb: 2\n",
            "f": "-",
        }
    ),
    yaml.safe_dump({"a": {"b": [1, 2]}, "l": [{"x": 1}, "y"], "t": "a: b\n# c\n"}),
    yaml.safe_dump({"a": SHARED, "b": SHARED}),
    'a: "x\nb: 1"\nc: 2\n',
    "a: 1\nb:\n- 2\n- c: 3\n# words\nc: {d: 4}\n",
    "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
    "a: 1\na: 2\n",
    "? a\n: 1\n",
    "{a: 1,\nb: 2}\n",
    "a: |\n  b\n\n  c: 1\nd: >-\n  e\n  f\n",
    "---\na: 1\n...\n",
    "a: x\n  y\nb: http://c\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_what_yaml_says(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert load(tmp_path / "config.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["", "# words\n", "- a\n", "a", "a: [1\n", "a: 1\n b: 2\n", " a: 1\nb: 2\n", "a: *x\n"]
)
def test_what_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match="expected"):
        load(tmp_path / "config.yaml")


def test_each_caller_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {b: [1, {c: 2}]}\n")
    one = load(tmp_path / "config.yaml")
    one["a"]["b"][1]["c"] = 3
    one["a"]["b"].append(4)
    assert load(tmp_path / "config.yaml") == {"a": {"b": [1, {"c": 2}]}}


@pytest.mark.parametrize(
    "text", [*TEXTS, "a: [1e-3, .5, 1_0, 1:30, 2020-01-01, on, 0o7]\nb: ${px:8}\n", "a: ${b}\nb: é\n"]
)
def test_composing_reads_with_libyaml_what_it_reads_without(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read() -> object:
        try:
            return OmegaConf.to_container(OmegaConf.create(text))
        except yaml.YAMLError as error:
            return type(error)

    assert issubclass(get_yaml_loader(), LOADER)
    found = read()
    monkeypatch.setattr(yaml, "SafeLoader", yaml.loader.SafeLoader)
    assert not issubclass(get_yaml_loader(), LOADER) and read() == found
