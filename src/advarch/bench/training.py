"""Training images per second: PGD-AT, TRADES, Free and Fast beside the naive loop and torchattacks."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from advarch.bench.bench import Bench, Case
from advarch.bench.equal import unlike_losses
from advarch.bench.machine import share_of_peak
from advarch.bench.peers import NAIVE, missing
from advarch.bench.row import OURS, Row, compared
from advarch.bench.sizes import Method, Training
from advarch.bench.steps import Step, naive_step, run_step, torchattacks_step
from advarch.bench.timing import alternate
from advarch.launch.cost import FORWARDS
from advarch.metrics.cost import macs

SHAPE = (3, 32, 32)

FREE = "Free: each of its steps on an image counts as one"


def cases(bench: Bench) -> Iterator[Case]:
    """A row for each step of the sizes."""
    for training in bench.sizes.training:
        yield f"training: {label(training)}", partial(row, bench, training)


def label(training: Training) -> str:
    """What is trained how, in words."""
    method = {"pgd_at": f"PGD-{training.steps} AT", "trades": f"TRADES-{training.steps}"}
    return (
        f"{method.get(training.method, training.method.title())}, {training.network}, batch {training.batch}"
    )


def passes(method: Method, steps: int) -> float:
    """Forward passes that a lean step costs, as `launch.cost.passes` counts them."""
    own_images = method in ("free", "fast")
    return FORWARDS["Free" if method == "free" else method] + (0 if own_images else 2 * steps)


def images(batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images of CIFAR's size and random labels."""
    torch.manual_seed(1)
    return torch.rand(batch, *SHAPE).to(device), torch.randint(10, (batch,)).to(device)


def ours(bench: Bench, training: Training, x: Tensor, y: Tensor) -> Step:
    """The step of a run on these images, with the settings of the sizes."""
    sizes = bench.sizes
    return run_step(
        bench.network(training.network),
        training.method,
        x,
        y,
        steps=training.steps,
        precision=sizes.precision,
        compile=sizes.compile,
    )


def row(bench: Bench, training: Training) -> Row:
    """Every competitor begins with the same weights; what its first loss is says whether it attacked as strongly."""
    x, y = images(training.batch, bench.device)
    steps: dict[str, Step] = {OURS: ours(bench, training, x, y)}
    steps[NAIVE] = naive_step(bench.network(training.network), training.method, x, y, steps=training.steps)
    notes = [said for said in [missing("torchattacks")] if said]
    if not notes:
        theirs = torchattacks_step(
            bench.network(training.network), training.method, x, y, steps=training.steps
        )
        steps |= {"torchattacks": theirs} if theirs else {}
    losses: dict[str, Tensor] = {}
    actions = {who: partial(_noted, losses, who, step) for who, step in steps.items()}
    taken = alternate(actions, bench.sizes.rounds)
    cost = macs(bench.network(training.network), SHAPE)
    rate = training.batch / taken[OURS]
    share = share_of_peak(rate, passes(training.method, training.steps), cost, bench.peak())
    return compared(
        f"training: {label(training)}",
        taken,
        training.batch,
        "images/s",
        refused=unlike_losses({who: float(loss) for who, loss in losses.items()}),
        notes=(*notes, *([FREE] if training.method == "free" else [])),
        figures={"share of the matrix product's peak, %": share},
    )


def _noted(losses: dict[str, Tensor], who: str, step: Step) -> None:
    """Take a step, and keep the first loss."""
    loss = step()
    losses.setdefault(who, loss)
