"""What is run: small runs, as overrides; rows of the bench."""

from tests.contracts.test_contracts import ATTACKED_BY, DEFENSES

TINY = [
    "dataset=digits", "dataset.limit=120", "dataset.batch_size=20", "backbone.depths=[1,1,0]", "backbone.widths=[0.25,0.25,1]",
    "attack=pgd7", "attack.steps=2", "trainer.max_epochs=2", "trainer.threads=1", "validation.attack.steps=2",
    "evaluation.batch_size=20", "evaluation.limit=40", "evaluation.attacks.pgd20.steps=3", "evaluation.probe=false",
]  # fmt: skip
PLAIN = ["trainer.fast=false", "evaluation.fast=false"]
TRAIN = [*TINY, *PLAIN, "trainer.max_epochs=1", "stages=[train]"]
SEARCH = [
    "scale=smoke", "dataset=digits", "dataset.limit=60", "dataset.batch_size=20", "search.batch_size=12", *PLAIN,
    "attack=pgd7", "attack.steps=1", "validation.attack.steps=1", "trainer.threads=1", "stages=[search,train]",
]  # fmt: skip
CELLS = "[none,skip_connect,sep_conv_3x3,dil_conv_3x3]"
SMALL = ["search.supernet.space.nodes=1", f"search.supernet.space.operations={CELLS}"]
LEARNED = [
    *TINY, *PLAIN, "dataset.limit=700", "dataset.batch_size=50", "defense=fast", "optimizer.lr=0.2", "trainer.max_epochs=4",
    "threat.eps=0.05", "evaluation.limit=10", "evaluation.checkpoints=[best]",
]  # fmt: skip
"""Of ten test images some stand and some fall."""

LOOK = [*TINY, *PLAIN, "stages=[train,analyse]", "analysis.limit=20"]


def defended(name: str) -> list[str]:
    own = [f"attack={ATTACKED_BY[name]}", "attack.steps=2"] if name in ATTACKED_BY else []
    return [*TRAIN, f"defense={name}", *own]


JOBS = {
    # Distillation needs teachers: below.
    **{f"defense={name}": defended(name) for name in DEFENSES if name != "kd"},
    "the fast path": TINY,
    "the plain path": [*TINY, *PLAIN, "evaluation.probe=true"],
    "averaging=ema": [*TRAIN, "averaging=ema"],
    "averaging=swa": [*TRAIN, "averaging=swa", "averaging.start=0"],
    "stop=catastrophic": [*TRAIN, "stop=catastrophic"],
    "evaluation=full": [
        *LEARNED,
        "evaluation=full",
        "evaluation.attacks.autoattack.attacks.square.queries=300",
    ],
    **{f"search={name}": [f"method={name}", *SMALL, *SEARCH] for name in ("darts", "pc_darts", "racl")},
    **{f"search={name}": [f"method={name}", *SEARCH, "dataset.limit=30"] for name in ("nadar", "robnet")},
    **{f"analysis={name}": [*LOOK, f"analysis={name}"] for name in ("default", "racl")},
}

ROWS = ("training", "attacks", "evaluation", "autoattack", "search", "data", "work")
"""Of the bench, those that compute on the device in this process."""

STOPPING = ("pgd10", "cw_linf", "mim", "gama")
"""Attacks that take all steps on every image unless stop_on_success says otherwise, as in evaluations."""
