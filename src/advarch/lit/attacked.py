"""What is attacked in a network's place while it trains or is searched: a cheaper equal of it, where there is one."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from advarch.attacks.agreement import agree
from advarch.attacks.attack_copy import AttackCopy
from advarch.backbones.fused_cell import fused, obstacle
from advarch.types import Images


class Attacked:
    """What is attacked in a network's place while it trains: a copy, or the network where that gains nothing or is no equal.

    Attributes:
        proven: whether the copy was compared with the network since this was last set to False. Anew in each epoch, because
            a forward pass may depend on what moves along a training and is no tensor.
    """

    def __init__(self, network: nn.Module, tell: Callable[[str], None]) -> None:
        self.network, self.tell = network, tell
        self.proven = self.made = False
        self.copy: Callable[[], nn.Module] | None = None
        """The copy as the weights are now."""

    def now(self, x: Images, *, compiled: bool = False) -> nn.Module:
        """The copy as the weights are now, or the network, which is in the state it is attacked in; `x` to compare them on."""
        if not self.made:
            self.made, self.copy = True, self._made(x.device.type, compiled)
        if self.copy is None:
            return self.network
        if not self.proven and not agree(self.copy(), self.network, x):
            self.tell("the network itself is attacked, because a copy of its forward pass gave other logits")
            self.copy = None
            return self.network
        self.proven = True
        return self.copy()

    def _made(self, device: str, compiled: bool) -> Callable[[], nn.Module] | None:
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        made = AttackCopy(self.network, dtype)
        norms = sum(isinstance(module, _BatchNorm) for module in self.network.modules())
        folded = f"{made.folded} of {norms} batch normalisations folded"
        if not made.held:
            self.tell(f"the network itself is attacked: {folded}, no weight to cast")
            return None
        if compiled:
            made.graph.compile()
        cast = "" if dtype is None else f", weights in {str(dtype).removeprefix('torch.')} once a step"
        faster = f", {made.faster} layers in a faster form" if made.faster else ""
        self.tell(f"a copy of the network is attacked: {folded}{faster}{cast}")
        return made.refresh


class AttackedSupernet(Attacked):
    """The same while a network of mixed cells is searched: the copy has fused cells."""

    def _made(self, device: str, compiled: bool) -> Callable[[], nn.Module] | None:
        del device, compiled
        reason = obstacle(self.network)
        if reason is not None:
            self.tell(f"the network itself is attacked: {reason}")
            return None
        self.tell("a copy of the network is attacked: the edges that leave a state are computed together")
        return lambda: fused(self.network)
