"""A decision to stop that every process of a training takes at the same step."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed as dist

from advarch.errors import Interrupted


class Stoppable(Protocol):
    """A process that signals may tell to stop."""

    number: int | None
    """The signal that came, or None."""

    def listen(self) -> None:
        """Take the signals, also where somebody else took them in between."""

    def moment(self) -> None:
        """The process could stop here."""

    def saving(self) -> None:
        """From here on the process takes the time that it takes to save."""


class Together:
    """Whether any process of the training was told to stop: the same answer in each of them at the same moment.

    A moment's answer is that to the question sent at the moment before, so nobody waits for the network and no device is
    asked. A process alone has its answer at once. Every process comes to every moment.
    """

    def __init__(self, process: Stoppable | None) -> None:
        self.process = process
        self._group: Any = None
        self._asked: tuple[Any, torch.Tensor] | None = None
        self._number: int | None = None

    def stop(self) -> bool:
        """Whether all stop at this moment."""
        own = self.process.number if self.process else None
        if self.process is not None:
            self.process.moment()
        if not _several():
            self._number = own
        else:
            if self._asked is not None:
                work, said = self._asked
                work.wait()
                self._number = int(said) or None
            if self._group is None:
                # Of its own and on the CPU, whatever carries the gradients.
                self._group = dist.new_group(backend="gloo")
            said = torch.tensor([own or 0])
            self._asked = (dist.all_reduce(said, dist.ReduceOp.MAX, self._group, async_op=True), said)
        if self._number is not None and self.process is not None:
            self.process.saving()
        return self._number is not None

    def leave(self) -> None:
        """Stop here: what there was to save is saved."""
        assert self._number is not None
        raise Interrupted(self._number)


def leave_together() -> None:
    """Wait for the other processes of the training, then end the connection to them."""
    dist.barrier()
    dist.destroy_process_group()


@contextmanager
def environment_kept() -> Iterator[None]:
    """What tells this process its rank stays: Lightning takes some of it away after a training, and another may follow."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.update(before)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
