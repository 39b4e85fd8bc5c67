"""`advarch attack`: a user's own network and images; transfer between networks; bad input in one line with exit code 2."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from advarch.cli.compose import planned_jobs
from advarch.cli.main import VERBS, main
from advarch.evaluation.sanity import TEXTS
from advarch.runs.build import build_model
from advarch.runs.folder import RunFolder
from tests.evaluation import nets

NET = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, padding=1),
                         nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

class coloured(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    def forward(self, x):
        return self.net(x[:, :1])

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    def forward(self, x):
        return self.net(x), x

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))

def flat():
    return nn.Flatten(0)

def number():
    return 3

def broken(depth=3):
    raise KeyError("blocks")

class Fixed(nn.Module):
    def forward(self, x):
        assert x.shape[-1] == 224, "Input height (%d) doesn't match model (224)." % x.shape[-1]

def single():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

class Stuck(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    def train(self, mode=True):
        return super().train(True)
    def forward(self, x):
        return self.net(x)

class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    def forward(self, x):
        return self.net((7 * x).round() / 7)
"""
OWN = ["trainer.accelerator=cpu", "threat.eps=0.05"]
COMMON = ["dataset=digits", *OWN]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's network, its weights in two formats, and images of their own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(NET)
    weights = nets.sound_net().state_dict()
    torch.save(weights, "w.pt")
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, "wrapped.pt")
    safetensors.torch.save_file(weights, "w.safetensors")
    torch.save({**weights, "0.bias": weights["0.bias"] * torch.nan}, "nan.pt")
    torch.save(nets.sound_net(), "pickled.pt")
    torch.save({f"net.{name}": value for name, value in weights.items()}, "coloured.pt")
    x, y = nets.digits()
    np.savez("mine.npz", x=x[:40].numpy(), y=y[:40].numpy())
    return tmp_path


def evaluation(folder: Path) -> dict[str, dict[str, object]]:
    (path,) = folder.glob("outputs/attack/*/evaluation.json")
    record = json.loads(path.read_text())["checkpoints"]["given"]
    return {"record": record, **{r["name"]: r for r in record["results"]}}


@pytest.mark.parametrize("weights", ["w.pt", "wrapped.pt", "w.safetensors"])
def test_a_network_of_ones_own_is_attacked(
    here: Path, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["attack", "model=my.py:net", f"weights={weights}", "images=mine.npz", *OWN]) == 0
    found = evaluation(here)
    x, y = nets.digits()
    with torch.no_grad():
        right = int((nets.sound_net()(x[:40]).argmax(1) == y[:40]).sum())
    assert found["clean"]["correct"] == right and found["clean"]["total"] == 40
    assert int(found["pgd20"]["correct"]) <= int(found["fgsm"]["correct"])  # type: ignore[call-overload]
    said = capsys.readouterr().out
    assert "95 % interval" in said and TEXTS["fewer_than_1000_images"] in said
    assert f"mine.npz, n = 40 images, l∞, ε = 0.05, weights {weights}" in said
    # Asked again, nothing is left to do and the numbers stay.
    assert main(["attack", "model=my.py:net", f"weights={weights}", "images=mine.npz", *OWN]) == 0
    assert evaluation(here) == found


def test_a_masked_gradient_is_told_to_the_user(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({f"net.{name}": value for name, value in nets.sound_net().state_dict().items()}, "q.pt")
    assert main(["attack", "model=my.py:Quantised", "weights=q.pt", "images=mine.npz", *OWN]) == 0
    assert "zero_gradients" in evaluation(here)["record"]["flags"]  # type: ignore[operator]
    assert "gradients are masked" in " ".join(capsys.readouterr().out.split())


PLANTED = {
    "Quantised": "zero_gradients",
    "Stochastic": "random_outputs",
    "Saturated": "logit_scale",
    "Probabilities": "softmax_output",
    "Detached": "detached_input",
    "Optimising": "gradient_in_forward",
    "OwnBatch": "batch_dependent",
    "sound_net": None,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_each_planted_network_is_caught_by_the_flag_that_names_it(
    planted: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "sick.py").write_text(f"from tests.evaluation.nets import {planted}\n")
    x, y = nets.digits()
    np.savez("mine.npz", x=x[:100].numpy(), y=y[:100].numpy())
    assert main(["attack", f"model=sick.py:{planted}", "images=mine.npz", *OWN]) == 0
    found = evaluation(here)["record"]
    flags = {*found["flags"], *(flag for r in found["results"] for flag in r["flags"])}  # type: ignore[attr-defined]
    said = " ".join(capsys.readouterr().out.split())
    flag = PLANTED[planted]
    if flag is None:
        assert flags == {"fewer_than_1000_images"}
    else:
        assert flag in flags
    for each in flags:
        assert f"flag {each}" in said and TEXTS[each] in said


def test_a_timm_network_is_built_for_the_images(here: Path) -> None:
    small = ["evaluation.limit=4", "evaluation.probe=false", "evaluation.attacks.pgd20.steps=1"]
    assert main(["attack", "model=timm:resnet10t", *COMMON, *small]) == 0
    assert evaluation(here)["clean"]["total"] == 4


def pictures(root: Path, count: int) -> Path:
    """The first digits as PNG files in a folder for each class."""
    x, y = nets.digits()
    for number in range(count):
        place = root / str(int(y[number]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((x[number, 0] * 255).round().byte().numpy()).save(place / f"{number}.png")
    return root


@pytest.mark.parametrize("images", [["images=mine"], ["dataset=image_folder", "dataset.root=mine"]], ids=str)
def test_a_folder_of_pictures_is_attacked(here: Path, images: list[str]) -> None:
    pictures(here / "mine", 60)
    small = [
        "evaluation.probe=false",
        "evaluation.attacks.pgd20.steps=3",
        "threat.eps=0.05",
        "trainer.accelerator=cpu",
    ]
    whole = images[0].startswith("images")
    size = "+dataset.image_size=8" if whole else "dataset.image_size=8"
    assert main(["attack", "model=my.py:coloured", "weights=coloured.pt", *images, size, *small]) == 0
    found = evaluation(here)
    # A folder given as images is attacked whole; of a dataset it is the fifth that is set apart.
    assert found["clean"]["total"] == (60 if whole else 12)
    if whole:
        # A picture has 8 bits a pixel.
        x, y = (t[:60] for t in nets.digits())
        with torch.no_grad():
            right = int((nets.sound_net()((x * 255).round() / 255).argmax(1) == y).sum())
        assert found["clean"]["correct"] == right
    assert 1 <= found["pgd20"]["mean_queries"] <= 3  # type: ignore[operator]


def test_timms_name_alone_is_enough_and_a_changed_folder_is_another_attack(here: Path) -> None:
    folder = pictures(here / "mine", 20)
    small = ["evaluation.limit=10", "evaluation.probe=false", "evaluation.attacks.pgd20.steps=1"]
    asked = ["attack", "model=resnet10t", f"images={folder}", *OWN, *small]
    assert main(asked) == 0
    assert evaluation(here)["clean"]["total"] == 10
    assert main(asked) == 0
    assert len(list(here.glob("outputs/attack/*"))) == 1
    (folder / "0" / "more.png").write_bytes(next((folder / "0").glob("*.png")).read_bytes())
    assert main(asked) == 0
    assert len(list(here.glob("outputs/attack/*"))) == 2


def arrays(**changes: object) -> Callable[[], None]:
    """Write images of one's own that can't be used."""

    def write() -> None:
        x, y = nets.digits()
        np.savez("bad.npz", **{"x": x[:5].numpy(), "y": y[:5].numpy(), **changes})  # type: ignore[arg-type]

    return write


X = nets.digits()[0][:5].numpy()
GOOD = ["model=my.py:net", "weights=w.pt"]
BINARIZE = "check=binarization"


def one_class() -> None:
    """A folder whose pictures are all of one class."""
    Path("one/zero").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("one/zero/a.png")


def garbage() -> None:
    """A file of no format."""
    Path("garbage").write_bytes(b"hello there")


CASES: dict[str, tuple[list[str], Callable[[], None] | None, list[str]]] = {
    "images outside [0, 1]": ([*GOOD, "images=bad.npz"], arrays(x=2 * X), ["[0, 1]", "2"]),
    "images that are no numbers": ([*GOOD, "images=bad.npz"], arrays(x=X * np.nan), ["[0, 1]", "NaN"]),
    "integer images": ([*GOOD, "images=bad.npz"], arrays(x=(255 * X).astype(np.uint8)), ["uint8", "divide"]),
    "images of a wrong shape": ([*GOOD, "images=bad.npz"], arrays(x=X[:, 0]), ["batch", "(5, 8, 8)"]),
    "labels out of range": ([*GOOD, "images=bad.npz"], arrays(y=np.full(5, 10)), ["0 to 9", "10"]),
    "negative labels": (
        [*GOOD, "images=bad.npz"],
        arrays(y=np.full(5, -1)),
        ["labels", "from 0 upwards", "-1"],
    ),
    "labels that are no integers": ([*GOOD, "images=bad.npz"], arrays(y=np.zeros(5)), ["labels", "float"]),
    "fewer labels than images": ([*GOOD, "images=bad.npz"], arrays(y=np.zeros(4, int)), ["5", "(4,)"]),
    "an empty dataset": ([*GOOD, "images=bad.npz"], arrays(x=X[:0], y=np.zeros(0, int)), ["at least one"]),
    "no arrays": ([*GOOD, "images=w.pt"], None, ["images", "x and y"]),
    "no images": ([*GOOD, "images=none.npz"], None, ["none.npz", "not there"]),
    "a model that returns a tuple": (["model=my.py:Pair"], None, ["logits", "tuple"]),
    "a wrong number of classes": (["model=my.py:narrow"], None, ["10", "7"]),
    "no logits at all": (["model=my.py:flat"], None, ["logits", "10"]),
    "a tuple under the binarisation test": (["model=my.py:Pair", BINARIZE], None, ["logits", "tuple"]),
    "a wrong number of classes under the binarisation test": (
        ["model=my.py:narrow", BINARIZE],
        None,
        ["10", "7"],
    ),
    "a single logit": (
        ["model=my.py:single", "images=bad.npz"],
        lambda: arrays()(),
        ["two classes", "(1, 1)"],
    ),
    "pictures of one class": (
        [*GOOD, "images=one"],
        one_class,
        ["images", "at least two classes", "zero"],
    ),
    "a network of a fixed size": (["model=my.py:Fixed"], None, ["model", "height (8)", "dataset.image_size"]),
    "a factory that fails": (["model=my.py:broken"], None, ["model", "my.py:broken", "KeyError", "blocks"]),
    "outputs that are a file": ([*GOOD, "outputs=my.py"], None, ["outputs", "NotADirectoryError"]),
    "outputs below what can't hold a folder": ([*GOOD, "outputs=/proc/no"], None, ["outputs", "/proc/no"]),
    "a factory of something else": (["model=my.py:number"], None, ["torch.nn.Module", "int"]),
    "an unknown factory": (["model=my.py:nett"], None, ["nett", "net"]),
    "no such file": (["model=yours.py:net"], None, ["yours.py", "not there"]),
    "a folder without classes": (
        [*GOOD, "images=empty"],
        lambda: Path("empty").mkdir(),
        ["folder for each class"],
    ),
    "a folder with an empty class": (
        [*GOOD, "images=empty"],
        lambda: Path("empty/one").mkdir(parents=True),
        ["expected pictures", "one"],
    ),
    "a picture that is none": (
        [*GOOD, "images=empty"],
        lambda: (Path("empty/one").mkdir(parents=True), Path("empty/one/a.png").write_text("no"))[0],
        ["damaged", "a.png"],
    ),
    "an unknown network": (["model=resnet19"], None, ["resnet19", "resnet"]),
    "no factory named": (["model=my.py"], None, ["path/to/file.py:factory"]),
    "an unknown timm network": (["model=timm:resnet19"], None, ["resnet19", "resnet"]),
    "no model": ([], None, ["model", "came none"]),
    "an unknown check": ([*GOOD, "check=everything"], None, ["check", "everything"]),
    "a model stuck in training mode": (
        ["model=my.py:Stuck"],
        None,
        ["error: model:", "training mode", "train()"],
    ),
    "eps above 1": ([*GOOD, "threat.eps=8"], None, ["threat.eps", "8/255", "allow_large_eps"]),
    "eps of 1": ([*GOOD, "threat.eps=1"], None, ["threat.eps", "allow_large_eps"]),
    "NaN weights": (["model=my.py:net", "weights=nan.pt"], None, ["weights", "NaN", "0.bias"]),
    "weights that are code": (
        ["model=my.py:net", "weights=pickled.pt"],
        None,
        ["weights", "as data", "torch.nn.modules.container.Sequential);", "state_dict()"],
    ),
    "weights of garbage": (
        ["model=my.py:net", "weights=garbage"],
        garbage,
        ["weights", "as data", "no file of weights"],
    ),
    "images of garbage": ([*GOOD, "images=garbage"], garbage, ["images", "no archive", "numpy.savez"]),
    "an l_2 ball of 1.5": (
        [*GOOD, "threat=l2", "threat.eps=1.5"],
        None,
        ["threat.eps", "l_2", "allow_large_eps"],
    ),
    "weights of another network": (
        ["model=my.py:narrow", "weights=w.pt"],
        None,
        ["weights", "of this network"],
    ),
    "no such weights": (["model=my.py:net", "weights=none.pt"], None, ["none.pt", "not there"]),
    "weights that are no weights": (["model=my.py:net", "weights=my.py"], None, ["weights", "as data"]),
    "one source": (["evaluation=transfer", "evaluation.sources=[run]"], None, ["sources", "run"]),
    "no source": (["evaluation=transfer"], None, ["evaluation.sources", "two"]),
    "an empty source": (["evaluation=transfer", "source=[]"], None, ["source", "run folders"]),
    "a source that is no run": (["source=[.,..]"], None, ["config.yaml"]),
    "images beside a dataset": (
        [*GOOD, "images=mine.npz", "dataset=digits"],
        None,
        ["dataset", "images=", "leave one out"],
    ),
    "images beside a limit of a dataset": (
        [*GOOD, "images=mine.npz", "dataset.limit=3"],
        None,
        ["dataset.limit", "images="],
    ),
    "an unknown key": ([*GOOD, "evaluation.batchsize=3"], None, ["evaluation.batchsize", "batch_size"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_one_line_and_exit_code_2(
    case: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, arrange, said = CASES[case]
    if arrange:
        arrange()
    common = OWN if any(a.startswith("images=") for a in arguments) else COMMON
    fixed = [o for o in common if not any(a.split("=")[0] == o.split("=")[0] for a in arguments)]
    assert main(["attack", *arguments, *fixed]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert line.startswith("advarch: error: ")
    for part in said:
        assert part in line, f"{part!r} is not in {line!r}"
    for foreign in ("\x1b", "allow_pickle", "weights_only", "2147483647"):
        assert foreign not in line
    assert "l2" not in " ".join(arguments) or "grey" not in line


def made_run(seed: int, *, trained: bool = True) -> str:
    """A run folder; with random weights where it is trained."""
    (planned,) = planned_jobs(
        [*COMMON, "dataset.limit=50", "backbone.depths=[1,0,0]", "backbone.widths=[0.5,1,1]", f"seed={seed}"],
        check=True,
    )
    planned.folder.write_config(planned.config)
    if trained:
        model = build_model(planned.config, classes=10, image_shape=(1, 8, 8))
        safetensors.torch.save_file(model.state_dict(), planned.folder.path / "model.safetensors")
    return str(planned.folder.path)


def test_a_source_without_weights_is_refused(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sources = [made_run(0), made_run(1, trained=False)]
    code = main(["evaluation=transfer", f"source=[{','.join(sources)}]"])
    line = capfd.readouterr().err.strip()
    assert code == 2 and len(line.splitlines()) == 1
    assert "model.safetensors" in line and "train it first" in line


def test_transfer_takes_threat_and_dataset_of_the_first_source(here: Path) -> None:
    sources = [made_run(0), made_run(1)]
    own = ["model=my.py:net", "weights=w.pt", "evaluation.attacks.pgd100.steps=2"]
    assert main(["attack", "evaluation=transfer", f"evaluation.sources=[{','.join(sources)}]", *own]) == 0
    (path,) = here.glob("outputs/attack/transfer-*/transfer_pgd100.json")
    record = json.loads(path.read_text())
    assert (record["eps"], record["images"], len(record["pairs"])) == (0.05, 50, 9)
    assert "both classify right" in record["conventions"][1]


@pytest.mark.parametrize("verb", [["attack"], []], ids=["attack", "verb left out"])
def test_source_is_short_for_the_key_of_the_config(
    here: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    # Two trainings of one network from two seeds, RobNet's copies, and a third network that only answers.
    folders = [made_run(seed) for seed in (0, 1, 2)]
    small = ["evaluation.attacks.pgd100.steps=2", "evaluation.limit=20"]
    typed = [
        f"source=[{','.join(folders[:2])}]",
        f"target=[{','.join(folders)}]",
        "evaluation=transfer_robnet",
    ]
    assert main([*verb, *typed, *small]) == 0
    (path,) = here.glob("outputs/attack/transfer-*/transfer.csv")
    rows = list(csv.DictReader(path.open()))
    names = [Path(folder).name for folder in folders]
    assert [(r["source"], r["target"]) for r in rows if r["attack"] == "fgsm"] == [
        (source, target) for source in names[:2] for target in names
    ]
    assert len(rows) == 12 and {row["images"] for row in rows} == {"20"}
    said = (path.parent / "transfer.md").read_text()
    assert said.count("| source \\\\ target |") == 2 and "| target | source |" in said
    assert (
        TEXTS["fewer_than_1000_images"] in said and TEXTS["fewer_than_1000_images"] in capsys.readouterr().out
    )
    # Without a suite's name it is `transfer`, and one folder needs no brackets.
    assert main(["attack", f"source={folders[0]}", f"target={folders[1]}", *small]) == 0


def test_each_radius_seed_and_number_of_images_has_a_folder_of_its_own(here: Path) -> None:
    asked = ["attack", "model=my.py:net", "weights=w.pt", "dataset=digits", "trainer.accelerator=cpu"]
    small = ["evaluation.limit=20", "evaluation.probe=false", "evaluation.attacks.pgd20.steps=2"]

    def ran(*more: str) -> dict[str, bytes]:
        assert main([*asked, *small, *more]) == 0
        return {path.parent.name: path.read_bytes() for path in here.glob("outputs/attack/*/outcomes.npz")}

    first = ran("threat.eps=0.1")
    again = ran("threat.eps=0.3")
    assert len(again) == 2
    # Back at the first radius nothing is attacked again: seconds are part of what outcomes.npz holds.
    assert ran("threat.eps=0.1") == again and first.items() <= again.items()
    assert len(ran("threat=l2", "threat.eps=0.3")) == 3
    assert len(ran("threat.eps=0.1", "seed=1")) == 4
    assert len(ran("threat.eps=0.1", "evaluation.limit=10")) == 5
    # Another attack of the same ball goes into the folder that is there.
    assert len(ran("threat.eps=0.1", "evaluation.attacks.pgd20.steps=1")) == 5


def test_images_of_ones_own_need_a_radius(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", *GOOD, "images=mine.npz", "trainer.accelerator=cpu"]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "threat.eps" in line and "images=" in line and "8/255" in line


def test_columns_of_an_earlier_suite_say_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["attack", *GOOD, "images=mine.npz", *OWN, "evaluation.probe=false"]
    assert main([*asked, "+attack@evaluation.attacks.mim=mim"]) == 0
    assert not any("earlier" in str(r["note"]) for r in evaluation(here)["record"]["results"])  # type: ignore[index]
    capsys.readouterr()
    assert main(asked) == 0
    found = evaluation(here)
    assert str(found["mim"]["note"]) == "from an earlier suite, not in worst"
    assert str(found["worst"]["note"]) == "worst case per image of fgsm, pgd20"
    said = capsys.readouterr().out
    assert "mim *" in said and "* mim: from an earlier suite, not in worst" in said
    # Asked for again it is one of the suite's columns, and nothing is left of the note.
    assert main([*asked, "+attack@evaluation.attacks.mim=mim"]) == 0
    assert evaluation(here)["mim"]["note"] == ""


def test_status_lists_attacks(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["attack", *GOOD, "images=mine.npz", *OWN, "evaluation.probe=false"]
    assert main(asked) == 0
    (folder,) = here.glob("outputs/attack/*")
    capsys.readouterr()
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[1].split(), lines[2].split()] == [["attack:", "1", "done"], [folder.name, "done", "attack"]]
    # Killed before its last columns, as evaluation.json is written at the end.
    (folder / "evaluation.json").unlink()
    assert main(["status"]) == 0
    assert "interrupted" in capsys.readouterr().out


def test_status_folds_names_and_drops_no_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for number in range(3):
        folder = RunFolder(tmp_path / "sweep" / f"{'a-long-name-' * 9}{number}")
        folder.write_config({"stages": ["train"], "seed": number})
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("missing") == 1 + 3 and all(len(line) <= 80 for line in out.splitlines())
    assert "sweep: 3 missing" in out


@pytest.mark.parametrize("verb", ["attack", "report", "plan", "status", "doctor"])
def test_each_verb_has_a_help(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert main([verb, flag]) == 0
        said = capfd.readouterr()
        assert said.out.startswith(f"advarch {verb}") and VERBS[verb] in said.out and not said.err


def test_clean_mistakes_are_not_called_fooled(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["attack", "model=my.py:net", "images=mine.npz", *OWN, "evaluation.probe=false"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    clean = evaluation(here)["clean"]
    wrong = int(clean["total"]) - int(clean["correct"])  # type: ignore[call-overload]
    assert f"{wrong} of 40" in said and "wrong" in said and "fooled" not in said
