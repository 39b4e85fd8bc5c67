"""How an attack says which of its images it asks the network about, for an evaluation that counts queries per image."""

from typing import Any

from torch import Tensor


class Watched:
    """A network that counts what it is asked about each image. Only an evaluation makes one; others are what they are."""

    def about(self, rows: Tensor) -> "Watched":
        """The same network for these of the images alone (numbers, repeated ones too, or a mask)."""
        raise NotImplementedError

    def tell(self, queries: Tensor) -> None:
        """Count these queries, one number an image: for an attack that knows better than forward passes."""
        raise NotImplementedError

    def quiet(self) -> Any:
        """The same network, not counting what is asked about each image."""
        raise NotImplementedError


def about(model: Any, rows: Tensor) -> Any:
    """The network with word that from here on each batch is about these of the images, in this order."""
    return model.about(rows) if isinstance(model, Watched) else model


def quiet(model: Any) -> Any:
    """The network for forward passes that are not to be counted per image; `tell` says afterwards what is."""
    return model.quiet() if isinstance(model, Watched) else model


def tell(model: Any, queries: Tensor) -> None:
    """Say how many queries each image took, where forward passes are not the measure: Square asks ahead."""
    if isinstance(model, Watched):
        model.tell(queries)
