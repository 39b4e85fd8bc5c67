"""A search step: adversarial PC-DARTS of first order, ours beside a plainly written one on the same supernet."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from advarch.attacks.pgd import pgd
from advarch.backbones.supernet import Supernet
from advarch.bench.bench import Bench, Case, channels_last
from advarch.bench.equal import unlike_losses
from advarch.bench.plain_search import make_arch_optimizer, plain, plain_step
from advarch.bench.row import OURS, Row, compared
from advarch.bench.sizes import Search
from advarch.bench.steps import STEP_SIZE, THREAT, make_optimizer
from advarch.bench.timing import alternate
from advarch.defenses.pgd_at import pgd_at
from advarch.genotype.space import DARTS_OPERATIONS, Space
from advarch.layers.layout import unsafe_convolution
from advarch.lit.attacked import AttackedSupernet
from advarch.metrics.cost import macs
from advarch.modes import attacked_as
from advarch.search.architecture import Softmax
from advarch.search.darts import Darts
from advarch.search.method import Batches, Progress
from advarch.types import Batch

PEER = "plain PC-DARTS"
GRAD_CLIP = 5.0


def cases(bench: Bench) -> Iterator[Case]:
    """One supernet."""
    size = bench.sizes.search
    name = (
        f"search: PC-DARTS with PGD-{size.steps} AT, {size.cells} cells of {size.channels} channels, "
        f"{size.side}x{size.side}, batch {size.batch}"
    )
    yield name, partial(_row, bench, size, name)


def supernet(size: Search) -> Supernet:
    """The supernet of that size, always with the same weights."""
    torch.manual_seed(0)
    return Supernet(
        classes=10,
        in_channels=3,
        space=Space(DARTS_OPERATIONS, nodes=size.nodes),
        arch=partial(Softmax, edges=True),
        cells=size.cells,
        channels=size.channels,
        partial_channels=size.partial_channels,
    )


def run_step(
    network: Supernet, batches: Batches, *, steps: int, precision: str = "fp32"
) -> Callable[[], tuple[Tensor, Tensor]]:
    """The step that a search takes by default; its losses of architecture and weights."""
    attack = partial(pgd, threat=THREAT, steps=steps, step_size=STEP_SIZE)
    # As `trainer.fast` has it.
    if batches.arch.x.device.type == "cpu" and unsafe_convolution(network) is None:
        channels_last(network)
    method = Darts(network.train(), defense=pgd_at, attack=attack)
    attacked = AttackedSupernet(network, lambda words: None)
    optimizers = {
        "weights": make_optimizer(network.weights()),
        "arch": make_arch_optimizer(network.arch.parameters()),
    }
    progress = Progress(0, 0.0, 1, 0)

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(network.weights(), GRAD_CLIP)

    optimizers["weights"].register_step_pre_hook(clip)

    def step() -> tuple[Tensor, Tensor]:
        autocast = torch.autocast(batches.arch.x.device.type, torch.bfloat16, enabled=precision == "bf16")
        with autocast, attacked_as(network, partial(attacked.now, batches.weights.x)):
            terms = method.step(batches, optimizers, progress)
        return terms["loss_arch"], terms["ce_adv"]

    return step


def _row(bench: Bench, size: Search, name: str) -> Row:
    torch.manual_seed(1)
    weights, arch = (_batch(size, bench.device) for _ in range(2))
    mine = supernet(size).to(bench.device)
    theirs = plain(mine)
    steps = {
        OURS: run_step(mine, Batches(weights, arch), steps=size.steps, precision=bench.sizes.precision),
        PEER: plain_step(theirs, weights, arch, steps=size.steps, grad_clip=GRAD_CLIP),
    }
    losses: dict[str, tuple[Tensor, Tensor]] = {}

    def take(who: str) -> None:
        found = steps[who]()
        losses.setdefault(who, found)

    taken = alternate({who: partial(take, who) for who in steps}, bench.sizes.rounds)
    # The architecture's loss comes first, so it is the one taken at equal weights.
    refused = unlike_losses({who: float(arch_loss) for who, (arch_loss, _) in losses.items()})
    millions = macs(supernet(size), (3, size.side, size.side)) / 1e6
    return compared(
        name,
        taken,
        2 * size.batch,
        "images/s",
        refused=refused,
        figures={"multiply-adds of a forward pass, M": millions},
    )


def _batch(size: Search, device: torch.device) -> Batch:
    x, y = torch.rand(size.batch, 3, size.side, size.side), torch.randint(10, (size.batch,))
    return Batch(x.to(device), y.to(device), torch.arange(size.batch, device=device))
