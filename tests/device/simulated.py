"""A device that is not the CPU, made of the CPU, for machines without a GPU.

Its tensors mix with those of the CPU no more than a GPU's do, numpy can't read them, and every time the host has to wait for
one of their values is counted. What it can't show: kernels, their precision and their speed. Import it before the first
backward pass of a process: the engine counts devices then.
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    """What torch asks a backend's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


_setup_privateuseone_for_python_backend("simulated", backend_module=_Backend())

DEVICE, CPU = torch.device("simulated", 0), torch.device("cpu")

WAITS: Counter[str] = Counter()
"""How often the host needed a value of the device, or had to hand it a mask, by what it asked."""

READ = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim"}
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}


class There(Tensor):
    """A tensor on the device; `here` holds its values."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(op, args, kwargs or {})

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert a tensor of the device to numpy; use .cpu() first")

    __array__ = numpy

    def tolist(self) -> Any:
        WAITS["tolist"] += 1
        return self.here.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # What is saved must load where there is no such device.
        return self.here.__reduce_ex__(protocol)

    def __repr__(self, **kwargs: Any) -> str:
        return f"There({self.here})"


class Everywhere(TorchDispatchMode):
    """Sees what has no tensor of the device yet: `torch.zeros(3, device=DEVICE)`."""

    def __torch_dispatch__(self, op: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return run(op, args, kwargs or {})


def run(op: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """Do it on the CPU, if a GPU would.

    Raises:
        RuntimeError: tensors of both places in one operation.
    """
    name = op._schema.name.partition("::")[2]
    flat = pytree.tree_leaves((args, kwargs))
    theirs = [each for each in flat if isinstance(each, There)]
    others = [each for each in flat if isinstance(each, Tensor) and not isinstance(each, There)]
    wanted = kwargs.get("device")
    if not theirs and (wanted is None or torch.device(wanted).type == "cpu"):
        return op(*args, **kwargs)
    where = torch.device(wanted) if wanted is not None else args[0].device if name == "copy_" else DEVICE
    _apart(op, name, args, kwargs, theirs, others)
    if name in READ:
        WAITS[name] += 1
    if name in ("_to_copy", "copy_") and theirs and where.type == "cpu":
        WAITS["cpu"] += 1
    low_args, low_kwargs = pytree.tree_map(_low, (args, kwargs))
    low_kwargs.pop("pin_memory", None)
    shapes = [each.here.shape for each in theirs]
    found = op(*low_args, **low_kwargs)
    assert [each.here.shape for each in theirs] == shapes, (
        f"{op}: the simulation can't change a shape in place"
    )
    # What an operation wrote into comes back as what it was.
    known = {id(each.here): each for each in theirs} | {id(each): each for each in others}

    def high(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in known:
            return known[id(value)]
        return value if where.type == "cpu" else There(value)

    return pytree.tree_map(high, found)


def _low(value: Any) -> Any:
    return value.here if isinstance(value, There) else CPU if isinstance(value, torch.device) else value


def _apart(
    op: Any, name: str, args: tuple, kwargs: dict[str, Any], theirs: list[There], others: list[Tensor]
) -> None:
    """What a GPU refuses: operands of two places, but for a single number and for copies; indices there of what is here.

    A number of the CPU is taken beside a tensor there, but is not written into, not joined to others in a list, nor one of two.

    Indices of the CPU are copied over, and what a mask selects has a size that the host waits for.
    """
    if name in INDEXED:
        whole, indices = args[0], [each for each in args[1] if each is not None]
        WAITS["mask"] += sum(each.dtype == torch.bool for each in indices)
        WAITS["index of the cpu"] += sum(
            isinstance(whole, There) and not isinstance(each, There) for each in indices
        )
        values = [each for each in args[2:3] if isinstance(each, Tensor) and each.dim()]
        wrong = not isinstance(whole, There) and any(isinstance(each, There) for each in indices)
        wrong = wrong or any(isinstance(each, There) != isinstance(whole, There) for each in values)
    else:
        listed = [
            each
            for each in args
            if isinstance(each, (list, tuple)) and any(e is other for e in each for other in others)
        ]
        written = name.endswith("_") and isinstance(args[0], Tensor) and not isinstance(args[0], There)
        number = (
            len(others) == 1 and not others[0].dim() and not listed and not written and "out" not in kwargs
        )
        wrong = bool(theirs and others) and name not in ("_to_copy", "copy_") and not number
    if wrong:
        raise RuntimeError(f"{op}: expected all tensors on one device, came {DEVICE.type} and cpu")
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"{op}: expected a generator of the device, came one of the cpu")


# Autograd's threads know no mode: what they make without a tensor of the device comes here.
_LIBRARY = torch.library.Library("_", "IMPL")
_LIBRARY.fallback(lambda op, *args, **kwargs: run(op, args, kwargs), "PrivateUse1")


def begin() -> None:
    """From now on DEVICE can be used in this process."""
    # torch.tensor(..., device=DEVICE) is made on the CPU and then moved, as for fake tensors.
    torch._C._set_only_lift_cpu_tensors(True)
    # A parameter that is moved to a GPU is the same object afterwards.
    torch.__future__.set_swap_module_params_on_conversion(True)
    Everywhere().__enter__()
