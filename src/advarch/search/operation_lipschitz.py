"""Lipschitz constants lambda_o of the operations of a supernet, in l_2 (RACL, after Eq. 10)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advarch.layers.cell_operations import FactorizedReduce, Zero
from advarch.metrics.power_iteration import power_iteration

FIRST_ITERATIONS = 30
"""Of the first estimate, which starts from random directions."""


class OperationLipschitz:
    """lambda_o of a list of operations, estimated anew at each call by a few power iterations from the last directions.

    Average pooling stride^(-1/2), max pooling 1, identity 1, zero 0; for operations with convolutions the product of the
    spectral norms of their kernels, each as the matrix (out, in * k * k) of Yoshida and Miyato 2017, the paper's reference;
    that of a grouped convolution is block diagonal. Activations count 1, normalisations are left out. A FactorizedReduce
    applies two convolutions to different pixels, so its constant is the larger of the two norms. The matrix bounds one
    window, not the map: ||conv|| <= k ||W|| on stride 1, so lambda_o is the paper's quantity rather than a certificate.

    Args:
        operations: as `layers.cell_operations.operation` makes them, or with normalisations around.
        seed: of the first directions.
    """

    def __init__(self, operations: Sequence[nn.Module], *, seed: int = 0) -> None:
        self._kernels: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        self._directions: dict[tuple[int, ...], Tensor] = {}
        self._seed = seed
        convolutions = [[m for m in op.modules() if isinstance(m, nn.Conv2d)] for op in operations]
        places = []
        count = 0
        for own in convolutions:
            places.append(list(range(count, count + len(own))))
            for number, convolution in enumerate(own, count):
                shape = tuple(_blocks(convolution.weight, convolution.groups).shape)
                self._kernels.setdefault(shape, []).append((number, convolution.weight))
            count += len(own)
        self._count = count
        # Behind the norms stand a 1, which changes no product, and a 0, which changes no maximum.
        longest = max([len(own) for own in places], default=0)
        self._largest = torch.tensor([_first(op, FactorizedReduce) is not None for op in operations])
        self._places = torch.tensor(
            [
                own + [count + reduces] * (longest - len(own))
                for own, reduces in zip(places, self._largest.int().tolist(), strict=True)
            ],
            dtype=torch.long,
        ).view(len(operations), longest)
        self._fixed = torch.tensor([_without_weights(op) for op in operations])

    def __call__(self, iterations: int = 1) -> Tensor:
        """lambda_o of every operation, (operations,), without a gradient: RACL holds the weights fixed meanwhile."""
        kernels = [kernel for group in self._kernels.values() for _, kernel in group]
        like = kernels[0].detach() if kernels else torch.ones(1)
        norms = like.new_zeros(self._count + 2)
        norms[-2] = 1.0
        for shape, group in self._kernels.items():
            matrices = torch.stack([_blocks(kernel.detach(), shape[0]) for _, kernel in group])
            started = shape in self._directions
            before = self._directions[shape] if started else self._random(matrices)
            values, after = power_iteration(
                matrices,
                before.to(matrices),
                iterations=iterations if started else max(iterations, FIRST_ITERATIONS),
            )
            self._directions[shape] = after
            norms[[number for number, _ in group]] = values.amax(-1)
        found = norms[self._places.to(norms.device)]
        largest = self._largest.to(norms.device)
        if not found.shape[1]:
            return self._fixed.to(norms)
        return torch.where(largest, found.amax(1), found.prod(1)) * self._fixed.to(norms)

    def _random(self, matrices: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self._seed)
        drawn = torch.randn(matrices.shape[:-1], generator=generator, dtype=matrices.dtype)
        return drawn / drawn.norm(dim=-1, keepdim=True)

    def state_dict(self) -> dict[str, Any]:
        """The directions, by the shape of their matrices."""
        return {"x".join(map(str, shape)): u for shape, u in self._directions.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from those directions."""
        self._directions = {tuple(map(int, name.split("x"))): u for name, u in state_dict.items()}


def _blocks(kernel: Tensor, groups: int) -> Tensor:
    """The diagonal blocks of a kernel's matrix, (groups, out / groups, in / groups * k * k)."""
    return kernel.reshape(groups, kernel.shape[0] // groups, -1)


def _without_weights(op: nn.Module) -> float:
    """The constant of an operation without convolutions; 1 for the others."""
    if _first(op, Zero) is not None:
        return 0.0
    pool = _first(op, nn.AvgPool2d)
    return 1.0 if pool is None else float(pool.stride) ** -0.5


def _first(op: nn.Module, kind: type[nn.Module]) -> Any:
    return next((module for module in op.modules() if isinstance(module, kind)), None)
