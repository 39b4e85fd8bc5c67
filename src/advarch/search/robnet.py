"""RobNet's one-shot supernet (Guo et al. 2020, section 3.2): every batch trains a random sub-network adversarially."""

from collections.abc import Mapping
from random import Random
from typing import Annotated, Any

from annotated_types import Gt, Lt
from torch import Tensor, nn
from torch.optim import Optimizer

from advarch.backbones.supernet import Supernet
from advarch.errors import InputError
from advarch.genotype.cell import Genotype
from advarch.noise import derive_seed
from advarch.search.architecture import Path
from advarch.search.method import Batches, Loss, Parameters, Progress
from advarch.search.weight_step import weight_step
from advarch.types import Attack


class RobNet:
    """min_theta E_path max_x' L(M(x'; theta, path), y) (Eq. 1 on a random path: Algorithm 1).

    The operations off the path have no gradient, so SGD leaves them as they are, their momentum too. There is nothing to
    learn about the architecture: candidates are drawn from the space afterwards and judged one by one.

    Args:
        supernet: its `arch` a `Path`.
        defense: the loss, adversarial training in the paper; it attacks the sub-network.
        attack: its attack, 7 steps of PGD in the paper.
        model: what the loss is taken of, the supernet behind a normalisation; None: the supernet itself.
        probability: that an operation is on the path. Nodes without input are drawn again; at 0.5 all sub-networks are alike.

    Raises:
        InputError: another kind of architecture.
    """

    def __init__(
        self,
        supernet: Supernet,
        *,
        defense: Loss,
        attack: Attack,
        model: nn.Module | None = None,
        probability: Annotated[float, Gt(0), Lt(1)] = 0.5,
    ) -> None:
        if not isinstance(supernet.arch, Path):
            raise InputError(
                f"arch: expected Path for RobNet, came {type(supernet.arch).__name__}; set supernet.arch"
            )
        self.supernet, self.model = supernet, supernet if model is None else model
        self.arch: Path = supernet.arch
        self.defense, self.attack, self.probability = defense, attack, probability

    def parameters(self) -> dict[str, Parameters]:
        """The supernet's weights; the architecture has no parameters."""
        return {"weights": self.supernet.weights()}

    def step(
        self, batches: Batches, optimizers: Mapping[str, Optimizer], progress: Progress
    ) -> dict[str, Tensor]:
        """One step on a random path (Algorithm 1, lines 4 to 15); the batch for an architecture is left alone."""
        self.arch.choose(self._draw("path", progress, "path"))
        terms = weight_step(
            self.model, self.supernet, batches.weights, optimizers["weights"],
            defense=self.defense, attack=self.attack, step=progress.train_step(batches.weights, "weights"),
        )  # fmt: skip
        self.arch.choose_all()
        return terms

    def derive(self, progress: Progress, name: str = "found") -> Genotype:
        """A sub-network like any other: which one is good is for those to say who judge candidates."""
        return self._draw("derivation", progress, name)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: all there is lies in the supernet."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to put back."""

    def _draw(self, purpose: str, progress: Progress, name: str) -> Genotype:
        random = Random(derive_seed(progress.seed, purpose, progress.step))
        return self.supernet.space.sample(random, name, probability=self.probability)
