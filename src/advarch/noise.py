"""Random numbers that depend on what they are for, never on who draws them.

`derive_seed` turns words and numbers into a seed. `ExampleGenerator` holds one independent stream for each example of a
batch, so that an attack's result does not depend on batch size, order or number of devices. Attacks draw through
`uniform` and `normal`, which take a `torch.Generator` (one stream for the whole batch: training) or an
`ExampleGenerator` (evaluation). Nobody here reads or writes the global random state.
"""

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def derive_seed(*parts: int | str) -> int:
    """A stable seed of 63 bits from words and numbers, the same on every machine and in every process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al., SC 2011): four 32-bit words of counter -> four random 32-bit words.

    The words are int64 tensors of equal shape, each in [0, 2^32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # int64 products wrap, yet both halves are right: the shift is arithmetic and the mask drops the copied sign.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _WORD) ^ c1 ^ k0,
            p1 & _WORD,
            ((p0 >> 32) & _WORD) ^ c3 ^ k1,
            p0 & _WORD,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


class ExampleGenerator:
    """One stream of random numbers for each example, a function of (seed, example index, number of draws so far).

    `generator[selection]` is the generator of a part of the batch; `generator.child(k)` is an independent generator for
    the same examples (a restart, an attack of a suite). Both leave the parent as it is.
    """

    def __init__(self, seed: int, index: Tensor, draws: int = 0) -> None:
        self.seed, self.index, self.draws = seed, index.long(), draws

    def __getitem__(self, selection: Tensor) -> "ExampleGenerator":
        return ExampleGenerator(self.seed, self.index[selection.to(self.index.device)], self.draws)

    def child(self, *name: int | str) -> "ExampleGenerator":
        """An independent generator for the same examples."""
        return ExampleGenerator(derive_seed(self.seed, *name), self.index)

    def words(self, count: int) -> Tensor:
        """The next `count` random 32-bit words of each example: int64 (batch, count)."""
        blocks = torch.arange(math.ceil(count / 4), device=self.index.device)
        index = self.index[:, None].expand(-1, len(blocks))
        block = blocks.expand_as(index)
        draw = torch.full_like(index, self.draws)
        self.draws += 1
        key = (self.seed & _WORD, (self.seed >> 32) & _WORD)
        words = philox((block, draw, index & _WORD, (index >> 32) & _WORD), key)
        return torch.stack(words, dim=-1).flatten(1)[:, :count]


Generator = torch.Generator | ExampleGenerator
"""Where random numbers come from: one stream for the whole batch, or one for each example."""


def child(generator: Generator | None, *name: int | str) -> Generator:
    """A generator for a part of the work (a restart). One stream for the whole batch simply goes on."""
    generator = ready(generator)
    return generator.child(*name) if isinstance(generator, ExampleGenerator) else generator


def pick(generator: Generator, selection: Tensor) -> Generator:
    """The generator of the selected examples. One stream for the whole batch simply goes on."""
    return generator[selection] if isinstance(generator, ExampleGenerator) else generator


def ready(generator: Generator | None) -> Generator:
    """The generator itself, or where there is none a new one seeded with 0: never the global random state."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def uniform(like: Tensor, generator: Generator | None) -> Tensor:
    """Numbers uniform in [0, 1), shaped, typed and placed as `like` (batch first); multiples of 2^-24."""
    generator = ready(generator)
    if isinstance(generator, ExampleGenerator):
        _same_length(like, generator)
        words = generator.words(like.shape[1:].numel()).to(like.device)
        return ((words >> 8).to(torch.float32) * 2.0**-24).view(like.shape).to(like.dtype)
    drawn = torch.rand(like.shape, generator=generator, device=generator.device)
    return drawn.to(like.device, like.dtype)


def normal(like: Tensor, generator: Generator | None) -> Tensor:
    """Standard normal numbers, shaped, typed and placed as `like` (batch first); by Box and Muller per example."""
    generator = ready(generator)
    if isinstance(generator, ExampleGenerator):
        _same_length(like, generator)
        count = like.shape[1:].numel()
        words = generator.words(2 * count).to(like.device).double()
        radius = torch.sqrt(-2.0 * torch.log((words[:, :count] + 1.0) * 2.0**-32))
        angle = words[:, count:] * (2.0 * math.pi * 2.0**-32)
        return (radius * torch.cos(angle)).view(like.shape).to(like.dtype)
    drawn = torch.randn(like.shape, generator=generator, device=generator.device)
    return drawn.to(like.device, like.dtype)


def _same_length(like: Tensor, generator: ExampleGenerator) -> None:
    if len(like) != len(generator.index):
        raise ValueError(
            f"expected one stream per example, came {len(generator.index)} streams for {len(like)} examples; "
            "select them with generator[selection]"
        )
