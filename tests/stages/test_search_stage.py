"""From images to searched, retrained and attacked cells by one command."""

import json
from pathlib import Path

import pytest

from advarch.cli.compose import planned_jobs
from advarch.cli.job import main
from advarch.genotype import stored

TINY = [
    "method=racl",
    "scale=smoke",
    "dataset.limit=60",
    "search.batch_size=12",
    "search.supernet.space.nodes=1",
    "search.supernet.space.operations=[none,skip_connect,sep_conv_3x3]",
    "attack=pgd7",
    "attack.steps=1",
    "validation.attack.steps=1",
    "dataset.batch_size=27",
    "evaluation=quick",
    "evaluation.probe=false",
]


@pytest.mark.slow
def test_searched_retrained_and_attacked_in_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planned,) = planned_jobs([*TINY, f"outputs={tmp_path}"], check=True)
    planned.folder.write_config(planned.config)
    assert main([str(planned.folder.path)]) == 0
    folder, path = planned.folder, planned.folder.path
    assert {stage: s.state for stage, s in folder.status().stages.items()} == dict.fromkeys(
        ("search", "train", "evaluate"), "done"
    )
    found = stored.read(path / "genotype.json")
    assert found.name == "racl" and "search=racl on digits, 2 epochs, seed 0" in found.source
    lines = [json.loads(line) for line in (path / "search.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert stored.from_plain(lines[-1]["genotype"]).digest == found.digest
    # The network that was trained and attacked is made of these cells.
    trained = json.loads((path / "model.json").read_text())["backbone"]["genotype"]
    assert stored.from_plain(trained) == found
    record = folder.record()
    assert record.search is not None and record.search.genotype == found.digest
    # Its network has convolutions that channels_last is not safe for, and a search of RACL attacks nothing.
    assert record.search.fast == "" and record.train is not None and "11 of 11" in record.train.fast
    assert record.search.size.parameters > 0 and record.evaluations["best"].result("pgd20") is not None
    drawn = {"genotype.svg", "genotype.png", "cells.png", "search.png", "search/supernet.safetensors"}
    assert all((path / name).is_file() for name in drawn)
    assert (path / "cells.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()
    assert main([str(path)]) == 0
    assert "nothing left to do" in capsys.readouterr().out
    assert planned_jobs([*TINY, f"outputs={tmp_path}"])[0].folder.path == path
