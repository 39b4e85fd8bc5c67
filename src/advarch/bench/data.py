"""The data path: what augmented batches take beside the training step that waits for them."""

from collections.abc import Iterator
from functools import partial

import torch

from advarch.bench.bench import Bench, Case
from advarch.bench.row import Row
from advarch.bench.timing import alternate
from advarch.bench.training import images, label, ours
from advarch.datasets.embedded import mnist_m
from advarch.datasets.loaders import DeviceLoader

BATCHES = 8
"""Of the timed part of an epoch."""

SHARE = "share of a step, %"


def cases(bench: Bench) -> Iterator[Case]:
    """One loader beside one step."""
    name = f"data path: mnist_m with crop and flip, beside {label(bench.sizes.step)}"
    yield name, partial(_row, bench, name)


def _row(bench: Bench, name: str) -> Row:
    step = bench.sizes.step
    part = mnist_m().train
    loader = DeviceLoader(
        part=part,
        indices=torch.arange(BATCHES * step.batch).numpy(),
        batch_size=step.batch,
        device=str(bench.device),
        shuffle=True,
        drop_last=True,
        crop_pad=4,
        flip=True,
    )
    train = ours(bench, step, *images(step.batch, bench.device))
    actions = {"batches": lambda: [batch.x for batch in loader], "step": train}
    taken = alternate(actions, bench.sizes.rounds)
    batch = taken["batches"] / BATCHES
    return Row(name, {"images/s": step.batch / batch, SHARE: 100 * batch / (batch + taken["step"])})
