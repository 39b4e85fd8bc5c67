"""The defenses side by side: the end of docs/methods/README.md, written from finished runs."""

from dataclasses import replace
from pathlib import Path

from advarch.cli.compose import planned_jobs
from advarch.records import RunRecord
from advarch.reports.table import build
from advarch.reports.text import markdown

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/methods/README.md"
HEADING = "## Side by side\n"
SWEEPS = {"mnist5k": "MNIST, 5,000 images", "mnist_m": "MNIST-M, 5,000 images"}
TIMED = "outputs/timed"
"""Where the runs lie that only tell how long an epoch takes."""

INTRODUCTION = f"""{HEADING}
Written by `make methods` from the runs of

    advarch -m +sweep=defenses/mnist5k       advarch -m +sweep=defenses/mnist5k_kd
    advarch -m +sweep=defenses/mnist_m       advarch -m +sweep=defenses/mnist_m_kd

A residual network of 20,000 weights behind a stem of stride 4, equal passes over the images, three seeds, on a CPU. Training attacks with
PGD-7; the best epoch is judged. What such small experiments say: whether a method works here and what it costs, not which one wins on
CIFAR-10. Most rows lie within one another's spread. "epoch (s)" is one epoch of seed 0 on a
core of its own (`advarch -m +sweep=defenses/mnist5k seed=0 trainer.max_epochs=1 stages=[train] outputs={TIMED} hydra.launcher.workers=1`).
"""


def page() -> str:
    """docs/methods/README.md with its end written anew."""
    kept = PAGE.read_text().partition(HEADING)[0]
    return kept + INTRODUCTION + "".join(_section(name, title) for name, title in SWEEPS.items())


def _section(name: str, title: str) -> str:
    sweep = planned_jobs([f"+sweep=defenses/{name}"])[0].config["sweep"]
    sweep |= {
        "title": title,
        "question": None,
        "columns": ["clean", "pgd20", "autoattack", "epoch_seconds"],
        "figure": None,
    }
    timed = {_method(run): run for run in _runs(name, "seed=0", "trainer.max_epochs=1", f"outputs={TIMED}")}
    runs = [_with_time(run, timed.get(_method(run))) for run in _runs(name)]
    return "\n##" + markdown(build(sweep, runs), [])


def _runs(name: str, *more: str) -> list[RunRecord]:
    jobs = [
        job for sweep in (name, f"{name}_kd") for job in planned_jobs([f"+sweep=defenses/{sweep}", *more])
    ]
    return [job.folder.record(job.config) for job in jobs]


def _method(run: RunRecord) -> str:
    return str(run.config["sweep"]["method"])


def _with_time(run: RunRecord, timed: RunRecord | None) -> RunRecord:
    """The run with the time of an epoch as it was measured alone."""
    if run.train is None or timed is None or timed.train is None:
        return run
    return replace(
        run, train=replace(run.train, seconds=timed.train.seconds / timed.train.epochs * run.train.epochs)
    )
