"""Running statistics of batch normalisation, measured anew: of an averaged network, of a supernet's sub-network."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advarch.modes import attack_mode
from advarch.types import Batch


@torch.no_grad()
def reestimate_statistics(
    network: nn.Module, batches: Iterable[Batch], device: torch.device, total: Callable[[Tensor], Tensor]
) -> None:
    """Set running mean and variance of every batch normalisation to those of its input over all these images.

    One pass. Each norm normalises by its batch meanwhile, as in training, and its moments are summed in double precision, so
    the first norm's statistics are exactly those of all images; torch's `update_bn` averages the variances of the batches
    instead, which leaves out the variance between them. Dropout and drop-path are off, as when the network is used.

    Args:
        network: its modes are restored.
        batches: clean images, this process's share.
        device: of the network.
        total: sums a tensor over all processes.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    moments: dict[_BatchNorm, Tensor] = {}
    hooks = [norm.register_forward_pre_hook(partial(_add_moments, moments)) for norm in norms]
    try:
        with attack_mode(network, "eval"):
            for norm in norms:
                norm.train()
            with attack_mode(network, "train_frozen_stats"):
                for x, _, _ in batches:
                    network(x.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    for norm, sums in moments.items():
        count, first, second = total(sums)
        mean = first / count
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(mean)
        # Unbiased, as the running variance is in training.
        norm.running_var.copy_((second / count - mean.square()) * (count / (count - 1)))


def _add_moments(moments: dict[_BatchNorm, Tensor], norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Count, sum and sum of squares of each channel, (3, channels)."""
    assert isinstance(norm, _BatchNorm)
    values = inputs[0].double().transpose(0, 1).flatten(1)
    count = torch.full_like(values[:, 0], values.shape[1])
    sums = torch.stack([count, values.sum(1), values.square().sum(1)])
    moments[norm] = moments[norm] + sums if norm in moments else sums
