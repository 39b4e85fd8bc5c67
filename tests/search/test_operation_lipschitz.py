"""Constants of operations against dense singular values of their kernels and of the maps themselves."""

import pytest
import torch
from torch import Tensor, nn

from advarch.layers.cell_operations import operation
from advarch.search.operation_lipschitz import OperationLipschitz

NAMES = ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"]


def made(name: str, stride: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return operation(name, 4, stride).double()


def dense(op: nn.Module) -> float:
    """The product of the largest singular values of the kernels as matrices, with zeros where a group reads no channel."""
    norms = []
    for module in op.modules():
        if isinstance(module, nn.Conv2d):
            blocks = module.weight.detach().chunk(module.groups)
            matrix = torch.block_diag(*(block.flatten(1) for block in blocks))
            norms.append(torch.linalg.svdvals(matrix)[0])
    return float(torch.stack(norms).prod())


def jacobian(function, shape: tuple[int, ...]) -> Tensor:
    matrix = torch.autograd.functional.jacobian(function, torch.rand(shape, dtype=torch.float64))
    return matrix.reshape(-1, torch.Size(shape).numel())


def converged(*operations: nn.Module) -> list[float]:
    return OperationLipschitz(operations)(iterations=300).tolist()


def test_convolutions_are_products_of_spectral_norms() -> None:
    operations = [made(name, stride, seed) for seed, name in enumerate(NAMES) for stride in (1, 2)]
    assert converged(*operations) == pytest.approx([dense(op) for op in operations], rel=1e-4)


def test_a_strided_identity_is_a_factorised_reduce_whose_norm_is_that_of_its_matrix() -> None:
    reduce = made("skip_connect", 2)
    wide = jacobian(lambda x: torch.cat([reduce.even(x), reduce.odd(x[:, :, 1:, 1:])], 1), (1, 4, 6, 6))
    assert converged(reduce) == pytest.approx([float(torch.linalg.matrix_norm(wide, 2))], rel=1e-4)


def test_operations_without_weights_have_the_constants_of_the_paper() -> None:
    names = ["avg_pool_3x3", "max_pool_3x3", "skip_connect", "none"]
    assert converged(*(made(name, 1) for name in names)) == [1, 1, 1, 0]
    assert converged(*(made(name, 2) for name in ("avg_pool_3x3", "max_pool_3x3", "none"))) == pytest.approx(
        [2**-0.5, 1, 0]
    )
    normed = nn.Sequential(made("avg_pool_3x3", 2), nn.BatchNorm2d(4, affine=False))
    assert converged(normed, made("sep_conv_3x3", 1))[0] == pytest.approx(2**-0.5)


def test_estimates_follow_the_weights_one_iteration_at_a_time_and_state_comes_back() -> None:
    op = made("dil_conv_3x3", 1)
    constants = OperationLipschitz([op, made("none", 1)])
    constants()
    generator = torch.Generator().manual_seed(3)
    for _ in range(60):
        with torch.no_grad():
            for weight in op.parameters():
                weight += 1e-3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        found = constants()
    assert float(found[0]) == pytest.approx(dense(op), rel=1e-3) and not found.requires_grad
    again = OperationLipschitz([op, made("none", 1)], seed=5)
    again.load_state_dict(constants.state_dict())
    assert torch.equal(again(), constants())
