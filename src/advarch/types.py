"""The words everyone shares: images, logits, objectives, attacks, losses."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

# Shapes in annotations are documentation at run time; the tests execute them (jaxtyping's import hook).
Images = Float[Tensor, "batch channel height width"]
"""Images in [0, 1]."""

Labels = Int[Tensor, " batch"]
Logits = Float[Tensor, "batch classes"]
PerExample = Float[Tensor, " batch"]

LogitsFn = Callable[[Tensor], Tensor]
"""Images in [0, 1] -> logits."""

Objective = Callable[[Tensor, Tensor], Tensor]
"""(logits, y) -> gain per example (batch,), to be maximised by an attack."""


@runtime_checkable
class Attack(Protocol):
    """A threat and its settings bound, images in, adversarial images out; the objective may be replaced."""

    def __call__(self, model: Any, x: Tensor, y: Tensor, /, **kwargs: Any) -> Tensor: ...


class Batch(NamedTuple):
    """One minibatch: images in [0, 1], labels, and each example's index in the dataset part it came from."""

    x: Tensor
    y: Tensor
    index: Tensor  # type: ignore[assignment]  # the name hides tuple.index, which nobody needs here


class LossOutput(NamedTuple):
    """What a defense returns: the scalar to minimise, logits to count accuracy on, and its named terms (detached).

    `adversarial` says whether `logits` belong to adversarial images.
    """

    total: Tensor
    logits: Tensor
    terms: dict[str, Tensor]
    adversarial: bool
