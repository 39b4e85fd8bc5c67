"""What a network costs: exact parameters, multiply-adds of one forward pass, and what training keeps of it in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from advarch.records import Size

PROBE = 2
"""Images of the counted training pass: the least that batch normalisation takes."""

_aten = torch.ops.aten


class _Shapes(TorchDispatchMode):
    """On the meta device: adds up the flops of convolutions and matrix products by torch's own formulas, and hurries."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise torch imports its compiler, to keep it out of here: a second.
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        out = _result(func, args, given)
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **given, out_val=out)
        return out


def _result(func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    """What an operation gives on the meta device.

    Torch finds many a shape by decomposing the operation in Python and with its compiler's help, which is most of a count's
    seconds. Those that networks are made of are found here.
    """
    if (shortcut := _SHORTCUTS.get(func)) is not None:
        out = shortcut(*args, **given)
        if out is not NotImplemented:
            return out
    return func(*args, **given)


def _fill(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x if x.is_meta else NotImplemented


def _like(x: Tensor) -> Tensor:
    # empty_like would be such an operation itself.
    return x.new_empty(x.shape)


def _add(x: Tensor, other: Any, *_: Any, **__: Any) -> Tensor:
    alike = isinstance(other, Tensor) and (x.shape, x.dtype) == (other.shape, other.dtype)
    return _like(x) if alike else NotImplemented


def _batch_norm(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    training = rest[-3]
    statistics = x.new_empty(x.shape[1] if training else 0)
    return _like(x), statistics, _like(statistics)


def _addmm(bias: Tensor, x: Tensor, weight: Tensor, **_: Any) -> Tensor:
    # What does not fit is torch's to say, here and below.
    return x.new_empty(x.shape[0], weight.shape[1]) if x.shape[1] == weight.shape[0] else NotImplemented


def _mean(x: Tensor, dims: Sequence[int], keepdim: bool = False) -> Tensor:
    places = {dim % x.ndim for dim in dims}
    kept = [
        (1 if place in places else side)
        for place, side in enumerate(x.shape)
        if keepdim or place not in places
    ]
    return x.new_empty(kept)


def _cat(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    shape = list(parts[0].shape)
    shape[dim] = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(shape)


def _convolution(
    x: Tensor, weight: Tensor, _: Any, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int],
    transposed: bool, __: Any, groups: int,
) -> Tensor:  # fmt: skip
    if transposed or x.ndim != weight.ndim or x.shape[1] != groups * weight.shape[1]:
        return NotImplemented
    sides = [
        (side + 2 * around - apart * (width - 1) - 1) // step + 1
        for side, width, step, around, apart in zip(
            x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


_SHORTCUTS: dict[Any, Callable[..., Any]] = {
    _aten.uniform_.default: _fill,
    _aten.normal_.default: _fill,
    _aten.zero_.default: _fill,
    _aten.fill_.Scalar: _fill,
    _aten.relu.default: _like,
    _aten.add.Tensor: _add,
    _aten.native_batch_norm.default: _batch_norm,
    _aten.mean.dim: _mean,
    _aten.cat.default: _cat,
    _aten.convolution.default: _convolution,
    _aten.addmm.default: _addmm,
}


def parameters(model: nn.Module) -> int:
    """Learnable numbers, each counted once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def macs(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image's forward pass, in convolutions and matrix products only (torch's formulas / 2).

    Counted on the meta device, where nothing is computed; the network is left as found.

    Args:
        model: a network, on any device.
        image_shape: (channel, height, width).
    """
    x = torch.empty(1, *image_shape, device="meta")
    with _mode(model, training=False), torch.no_grad(), _Shapes() as shapes:
        functional_call(model, _on_meta(model), (x,))
    return shapes.flops // 2


def activations(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Bytes per image that a forward pass in training keeps for the backward pass to weights and image, in float32.

    The sum over the different storages among all tensors that autograd saves, without those of parameters and buffers, divided
    by the number of images. Counted on the meta device too.

    Args:
        model: a network, on any device.
        image_shape: (channel, height, width).
    """
    state = _on_meta(model)
    own = {tensor.untyped_storage()._cdata for tensor in state.values()}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            saved[key] = tensor
        return tensor

    x = torch.empty(PROBE, *image_shape, device="meta", requires_grad=True)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with _mode(model, training=True), hooks, _Shapes():
        functional_call(model, state, (x,))
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values()) // PROBE


def _on_meta(model: nn.Module) -> dict[str, Tensor]:
    """The network's state without its numbers."""
    state = {
        name: p.detach().to("meta").requires_grad_(p.requires_grad) for name, p in model.named_parameters()
    }
    return state | {name: buffer.to("meta", copy=True) for name, buffer in model.named_buffers()}


def measure(model: nn.Module, image_shape: tuple[int, int, int]) -> Size:
    """Parameters, multiply-adds and activations of a network, on any device; it is left as found."""
    return Size(parameters(model), macs(model, image_shape), activations=activations(model, image_shape))


def size(build: Callable[[], nn.Module], image_shape: tuple[int, int, int]) -> Size:
    """The same of a network that is only ever built on the meta device: no memory, no arithmetic."""
    with torch.device("meta"), _Shapes():
        model = build()
    return measure(model, image_shape)


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Every module in training or in evaluation, and afterwards as it was."""
    before = [(module, module.training) for module in model.modules()]
    try:
        model.train(training)
        yield
    finally:
        for module, flag in before:
            module.training = flag
