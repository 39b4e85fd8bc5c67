"""Adversarial images that several measures look at: made once for a network."""

from typing import Any

import torch
from torch import Tensor, nn

from advarch.noise import ExampleGenerator
from advarch.types import Attack, Images, Labels

BATCH_SIZE = 100
"""Images at a time. Always the same, so that rounding does not tell which measure asked first."""

MOST_BYTES = 2**30
"""Of the images that are kept: as many as those that they are made from."""


class CraftedOnce:
    """An attack that remembers what it made of these images on this network, for one seed; anything else it runs as it is.

    Args:
        attack: the attack; its images have to follow from network, images, labels and generator alone.
        model: the network, whose weights stay as they are.
        x, y: the images and labels; an example's index in its generator is its place among them.
    """

    def __init__(self, attack: Attack, model: nn.Module, x: Images, y: Labels) -> None:
        self.attack, self.model, self.x, self.y = attack, model, x, y
        self.seed: int | None = None
        self.made: Tensor = x

    def __call__(
        self, model: Any, x: Tensor, y: Tensor, /, *, generator: Any = None, **options: Any
    ) -> Tensor:
        if options or model is not self.model or not self._ours(x, y, generator):
            return self.attack(model, x, y, generator=generator, **options)
        if self.seed != generator.seed:
            self.made, self.seed = self._make(generator.seed), generator.seed
        return self.made[generator.index.to(x.device)]

    def _ours(self, x: Tensor, y: Tensor, generator: Any) -> bool:
        """Whether these are images among ours, and nothing of their streams is used up."""
        if not isinstance(generator, ExampleGenerator) or generator.draws or self.x.nbytes > MOST_BYTES:
            return False
        index = generator.index.to(x.device)
        inside = bool(((index >= 0) & (index < len(self.x))).all())
        return inside and torch.equal(self.x[index], x) and torch.equal(self.y[index], y)

    def _make(self, seed: int) -> Tensor:
        rows = torch.arange(len(self.x)).split(BATCH_SIZE)
        parts = (
            self.attack(self.model, self.x[part], self.y[part], generator=ExampleGenerator(seed, part))
            for part in rows
        )
        return torch.cat(list(parts))
