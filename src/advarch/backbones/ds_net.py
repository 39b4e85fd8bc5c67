"""Diverse-structured networks: modules of parallel blocks with attention weights (DS-Net, Du et al. 2021)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt, MinLen
from torch import Tensor, nn

from advarch.backbones.chain import Chain
from advarch.layers.activations import Activation
from advarch.layers.atomic_blocks import DenseBlock, DlaBlock, MBConvBlock, ResNextBlock
from advarch.layers.residual_branches import ArkBlock, DownBlock, ResidualBlock

Block = Literal["residual", "mbconv", "dense", "ark", "resnext", "dla"]

Init = Literal["normal", "uniform", "log_normal", "exponential", "geometric", "equal", "published"]
"""The distributions of Fig. 5; all logits 0; the trained logits that were published with the code."""

PUBLISHED = (
    (-0.0380, -0.0407, 0.1803, -0.0594),
    (0.0306, 0.0003, 0.0152, -0.0236),
    (0.0565, -0.0227, -0.0892, 0.1028),
    (0.0006, -0.0250, 0.0427, 0.0359),
    (0.0291, -0.0237, 0.0450, -0.0020),
    (0.0292, -0.0567, -0.0229, 0.1033),
    (-0.0321, -0.0995, 0.0863, 0.0807),
    (0.0325, -0.0742, 0.0663, 0.0403),
    (0.0753, -0.0856, 0.0458, -0.0033),
    (0.0903, -0.1061, 0.0241, 0.0329),
    (0.1273, -0.0828, -0.1369, 0.1298),
    (0.1305, -0.1121, 0.0313, 0.0763),
    (0.2335, -0.1673, 0.0686, -0.0396),
    (0.1359, -0.1711, -0.0211, 0.1185),
    (1.1671, -1.2097, -0.2749, -0.2902),
)
"""Trained attention logits of DS-Net-4 by module: residual, mbconv, dense, ark (the authors' repository)."""

_COLUMNS: tuple[Block, ...] = ("residual", "mbconv", "dense", "ark")

_DRAWN: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda empty: empty.normal_(),
    "uniform": lambda empty: empty.uniform_(),
    "log_normal": lambda empty: empty.log_normal_(0.0, 1.0),
    "exponential": lambda empty: empty.exponential_(1.0),
    "geometric": lambda empty: empty.geometric_(0.5),
    "equal": lambda empty: empty.zero_(),
}


class Module(nn.Module):
    """sum_j softmax(logits)_j block_j(x) over blocks of the same channels in and out (DS-Net, Eq. 5)."""

    def __init__(self, blocks: Sequence[nn.Module], logits: Sequence[float], *, learned: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        values = torch.tensor(logits)
        # A buffer where it is fixed: it is saved, and no optimizer sees it.
        self.logits: Tensor
        if learned:
            self.logits = nn.Parameter(values)
        else:
            self.register_buffer("logits", values)

    def weights(self) -> Tensor:
        """Attention weights of the blocks, which sum to 1."""
        return torch.softmax(self.logits, dim=0)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weights()
        outputs = [weights[j] * block(x) for j, block in enumerate(self.blocks)]
        return sum(outputs[1:], outputs[0])


class DSNet(nn.Module):
    """A stem, `modules` modules with a down-sampling residual block after each third of them, and a linear head.

    Channels are c, factor * c and 2 * factor * c in the three thirds. DS-Net-4-softmax is factor 4; DS-Net-4-fixed has
    attention fixed and attention_init equal; the column "4" of Table 4 has attention fixed and attention_init published.

    Args:
        classes: number of logits.
        in_channels: channels of the images.
        channels: c, of the stem and the first modules.
        factor: k of the paper.
        modules: how many, at least 3.
        blocks: those of every module, from the first space (residual, mbconv, dense, ark) or the code's second (residual,
            mbconv, resnext, dla).
        attention: `softmax` (logits are learnt) or `fixed`.
        attention_init: a distribution of Fig. 5, `equal`, `published`, or a row of logits for each module.
        attention_scale: multiplies drawn logits: 0.001 in the code, 1 in the paper.
        keep: this many blocks of each module, those of the largest logits; their weights are renormalised and fixed (Table 4).
        drop_connect: of the mbconv block.
        activation: of all blocks but mbconv, whose Swish belongs to it.

    Raises:
        ValueError: logits for other blocks or another number of modules, or `keep` without logits that say what to keep.
    """

    def __init__(
        self,
        *,
        classes: Annotated[int, Ge(2)],
        in_channels: Annotated[int, Ge(1)],
        channels: Annotated[int, Ge(1)] = 20,
        factor: Annotated[int, Ge(1)] = 4,
        modules: Annotated[int, Ge(3)] = 15,
        blocks: Annotated[Sequence[Block], MinLen(1)] = _COLUMNS,
        attention: Literal["softmax", "fixed"] = "softmax",
        attention_init: Init | Sequence[Sequence[float]] = "normal",
        attention_scale: Annotated[float, Gt(0)] = 0.001,
        keep: Annotated[int, Ge(1)] | None = None,
        drop_connect: Annotated[float, Ge(0), Lt(1)] = 0.2,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        logits = _logits(attention_init, blocks, modules, attention_scale)
        chosen = _chosen(logits, keep, attention, attention_init)
        self.stem = nn.Conv2d(in_channels, channels, 3, 1, 1)
        width, stages = channels, nn.ModuleList()
        for place in range(modules):
            if place in (modules // 3, 2 * modules // 3):
                wider = channels * factor * (1 if place == modules // 3 else 2)
                stages.append(DownBlock(width, wider, activation))
                width = wider
            made = [_block(blocks[j], width, activation, drop_connect) for j in chosen[place]]
            kept = [logits[place][j] for j in chosen[place]]
            stages.append(Module(made, kept, learned=attention == "softmax"))
        self.stages = stages
        self.head = nn.Linear(width, classes)

    def attention_parameters(self) -> Iterator[nn.Parameter]:
        """The attention logits, module by module; none where they are fixed. They have an optimizer of their own (Adam)."""
        for stage in self.stages:
            if isinstance(stage, Module) and isinstance(stage.logits, nn.Parameter):
                yield stage.logits

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.classify(x)

    def classify(self, x: Tensor) -> Tensor:
        """Logits of the last module's map."""
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))

    def chain(self) -> Chain:
        """Modules and down-sampling blocks in a row."""
        return Chain(self.stem, list(self.stages), self.classify)


def _block(name: Block, channels: int, act: Activation, drop_connect: float) -> nn.Module:
    makers: dict[Block, Callable[[], nn.Module]] = {
        "residual": lambda: ResidualBlock(channels, act),
        "mbconv": lambda: MBConvBlock(channels, drop_connect),
        "dense": lambda: DenseBlock(channels, act),
        "ark": lambda: ArkBlock(channels, act),
        "resnext": lambda: ResNextBlock(channels, act),
        "dla": lambda: DlaBlock(channels, act),
    }
    return makers[name]()


def _logits(
    init: Init | Sequence[Sequence[float]], blocks: Sequence[Block], modules: int, scale: float
) -> list[list[float]]:
    """A row of logits for each module, drawn on the CPU whatever device the network is made on."""
    if init == "published":
        strange = [block for block in blocks if block not in _COLUMNS]
        if strange:
            raise ValueError(
                f"attention_init: expected blocks among {', '.join(_COLUMNS)} for published logits, came {strange[0]}"
            )
        rows = [[row[_COLUMNS.index(block)] for block in blocks] for row in PUBLISHED]
    elif isinstance(init, str):
        drawn = _DRAWN[init](torch.empty(modules, len(blocks), device="cpu"))
        rows = (scale * drawn).tolist()
    else:
        rows = [list(row) for row in init]
    if len(rows) != modules or any(len(row) != len(blocks) for row in rows):
        raise ValueError(
            f"attention_init: expected {len(blocks)} logits for each of {modules} modules, came {len(rows)} rows of "
            f"{len(rows[0]) if rows else 0}; set modules and blocks to fit"
        )
    return rows


def _chosen(
    logits: Sequence[Sequence[float]],
    keep: int | None,
    attention: str,
    init: Init | Sequence[Sequence[float]],
) -> list[list[int]]:
    """The blocks that each module has, by number; where logits are equal, the earlier."""
    everything = list(range(len(logits[0])))
    if keep is None:
        return [everything] * len(logits)
    if attention != "fixed" or (isinstance(init, str) and init in _DRAWN):
        raise ValueError(
            "keep: expected fixed attention and attention_init published or a row of logits for each module, came "
            f"attention {attention} and attention_init {init}; a network is pruned by logits that were trained"
        )
    if keep > len(everything):
        raise ValueError(f"keep: expected at most the {len(everything)} blocks of a module, came {keep}")
    return [sorted(sorted(everything, key=lambda j: -row[j])[:keep]) for row in logits]
