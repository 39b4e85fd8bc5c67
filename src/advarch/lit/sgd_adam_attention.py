"""SGD for a network's weights and, on the same gradients, Adam for its attention logits (DS-Net, Du et al. 2021, section 4.1)."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Protocol, overload, runtime_checkable

import torch
from annotated_types import Ge, Interval, Len
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

Beta = Annotated[float, Interval(ge=0, lt=1)]


@runtime_checkable
class HasAttention(Protocol):
    """A network some of whose parameters are attention logits."""

    def attention_parameters(self) -> Iterable[nn.Parameter]:
        """Those parameters."""


def attention_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that the networks in a model call their attention logits; none in most."""
    return [
        parameter
        for module in model.modules()
        if isinstance(module, HasAttention)
        for parameter in module.attention_parameters()
    ]


def optimizer_of(model: nn.Module, make: Callable[..., Optimizer]) -> Optimizer:
    """The model's optimizer, told which parameters are attention logits where it asks for them."""
    given = {"params": list(model.parameters())}
    if "attention_params" in inspect.signature(make).parameters:
        given["attention_params"] = attention_parameters(model)
    return make(**given)


class SgdAdam(Optimizer):
    """SGD and Adam as one optimizer, which clipping, schedules and checkpoints see as one with all their groups.

    Each steps as it would alone. SGD's groups come first. Adam's are marked `constant`: the schedule leaves their learning
    rate alone.
    """

    def __init__(self, sgd: SGD, adam: Adam) -> None:
        super().__init__([*sgd.param_groups, *adam.param_groups], {})
        self.sgd, self.adam = sgd, adam
        for group in adam.param_groups:
            group["constant"] = True
        self._share_groups()

    def _share_groups(self) -> None:
        """The groups are the parts' own, so that a learning rate or a gradient changed here is changed there."""
        self.param_groups = [*self.sgd.param_groups, *self.adam.param_groups]

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step of each on the gradients that are there, or that the closure, called once, leaves."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.sgd.step()
        self.adam.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """What both remember."""
        return {"sgd": self.sgd.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put it back."""
        self.sgd.load_state_dict(state_dict["sgd"])
        self.adam.load_state_dict(state_dict["adam"])
        self._share_groups()


def sgd_adam_attention(
    params: Iterable[Tensor],
    *,
    lr: Annotated[float, Ge(0)],
    momentum: Annotated[float, Ge(0)] = 0.0,
    weight_decay: Annotated[float, Ge(0)] = 0.0,
    nesterov: bool = False,
    attention_lr: Annotated[float, Ge(0)] = 1e-3,
    attention_betas: Annotated[Sequence[Beta], Len(2, 2)] = (0.5, 0.999),
    attention_weight_decay: Annotated[float, Ge(0)] = 1e-3,
    attention_params: Iterable[Tensor] = (),
) -> Optimizer:
    """SGD for the weights, Adam for the attention logits among them; SGD alone where there are none.

    Args:
        params: all parameters.
        lr: of SGD, which the schedule multiplies; Adam's stays.
        momentum: of SGD.
        weight_decay: of SGD.
        nesterov: of SGD.
        attention_lr: of Adam.
        attention_betas: of Adam.
        attention_weight_decay: of Adam, added to the gradient as an l_2 term.
        attention_params: those of `params` that are attention logits.
    """
    logits = list(attention_params)
    theirs = {id(parameter) for parameter in logits}
    weights = [parameter for parameter in params if id(parameter) not in theirs]
    sgd = SGD(weights, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    if not logits:
        return sgd
    first, second = attention_betas
    adam = Adam(logits, lr=attention_lr, betas=(first, second), weight_decay=attention_weight_decay)
    return SgdAdam(sgd, adam)
