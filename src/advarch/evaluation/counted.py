"""The network as an evaluation runs it: counting, in the precision asked for, and with a gradient that is at least zero."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advarch.asked import Watched
from advarch.errors import InputError
from advarch.threat import check_images
from advarch.types import LogitsFn


class Counted(nn.Module, Watched):
    """A network that counts the images it has seen.

    bf16, fast: how it runs while an attack searches, that is while `searching` is set: in bfloat16, and as this faster form
    of it. Otherwise it runs as it is.
    queries: forward passes of single images. forwards: those, and one more for each backward pass, which costs a forward.
    asked: of each image of the batch that is attacked now, its forward passes; see `watch`.
    """

    def __init__(self, model: nn.Module, *, bf16: bool = False, fast: LogitsFn | None = None) -> None:
        super().__init__()
        self.model, self.bf16, self.fast = model, bf16, fast
        self.searching = False
        self.queries = self.forwards = 0
        self.asked: Tensor | None = None
        self.told = True

    @property
    def elsewhere(self) -> bool:
        """Whether attacks search on something else than the network as it is."""
        return self.bf16 or self.fast is not None

    @contextmanager
    def search(self) -> Iterator[None]:
        """Within it, answer as an attack is to be answered."""
        self.searching = True
        try:
            yield
        finally:
            self.searching = False

    def watch(self, x: Tensor) -> None:
        """Count the queries of each of these images from here on."""
        self.asked, self.told = torch.zeros(len(x), dtype=torch.int32, device=x.device), True

    def watched(self) -> Tensor:
        """The queries of each image since `watch`, int32 (batch,); -1 where an attack did not say whom it asked about."""
        assert self.asked is not None
        asked, self.asked = self.asked, None
        return asked if self.told else torch.full_like(asked, -1)

    def note(self, rows: Tensor | None, queries: int | Tensor, count: int) -> None:
        """Count `queries` for each of `count` images: those of `rows`, or all of them in their order."""
        if self.asked is None:
            return
        if count != (len(self.asked) if rows is None else len(rows)):
            self.told = False
        elif rows is None:
            self.asked += queries
        else:
            each = torch.as_tensor(queries, dtype=torch.int32, device=rows.device).expand(count)
            self.asked.index_add_(0, rows, each)

    def about(self, rows: Tensor) -> Watched:
        everyone = torch.arange(0 if self.asked is None else len(self.asked), device=rows.device)
        return _Some(self, everyone[rows]) if self.asked is not None else self

    def tell(self, queries: Tensor) -> None:
        self.note(None, queries.int(), len(queries))

    def quiet(self) -> nn.Module:
        return _Quiet(self)

    def forward(self, x: Tensor) -> Tensor:
        self.note(None, 1, len(x))
        return self.answer(x)

    def answer(self, x: Tensor) -> Tensor:
        """The logits, counted for the column and for no image."""
        self.queries += len(x)
        self.forwards += len(x) * (2 if x.requires_grad else 1)
        if not self.searching:
            return attached(self.model(x), x)
        run = self.model if self.fast is None else self.fast
        if self.bf16:
            with torch.autocast(x.device.type, torch.bfloat16):
                logits = run(x).float()
        else:
            logits = run(x)
        return attached(logits, x)


class _Some(Watched):
    """A counted network that is asked about some images of the batch."""

    def __init__(self, network: Counted, rows: Tensor) -> None:
        self.network, self.rows = network, rows

    def __call__(self, x: Tensor) -> Tensor:
        self.network.note(self.rows, 1, len(x))
        return self.network.answer(x)

    def about(self, rows: Tensor) -> Watched:
        return _Some(self.network, self.rows[rows])

    def tell(self, queries: Tensor) -> None:
        self.network.note(self.rows, queries, len(queries))

    def quiet(self) -> nn.Module:
        return self.network.quiet()


class _Quiet(nn.Module):
    """A counted network whose passes count for no image."""

    def __init__(self, network: Counted) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.answer(x)


def attached(logits: Tensor, x: Tensor) -> Tensor:
    """The logits, made to depend on the images with slope zero where they depend on them through no gradient.

    So an attack on a network that detaches its input fails instead of the program; the flag `detached_input` says why.
    """
    if x.requires_grad and torch.is_grad_enabled() and not logits.requires_grad:
        return logits + 0.0 * x.flatten(1).sum(1, keepdim=True)
    return logits


def check_logits(logits: object, x: Tensor, classes: int) -> None:
    """Refuse what a network must not return.

    Raises:
        InputError: no tensor, another shape than (images, classes), or values that are no numbers.
    """
    if not isinstance(logits, Tensor):
        raise InputError(
            f"model: expected logits as a tensor (images, {classes}), came {type(logits).__name__}; "
            "return the logits alone"
        )
    if logits.ndim != 2 or tuple(logits.shape) != (len(x), classes):
        raise InputError(
            f"model: expected logits of shape ({len(x)}, {classes}), one row an image and one column a class, "
            f"came {tuple(logits.shape)}; give the network as many outputs as the dataset has classes"
        )
    if not bool(torch.isfinite(logits).all()):
        raise InputError("model: expected finite logits, came NaN or infinity; check its weights")


def check_examples(x: Tensor, y: Tensor, classes: int | None) -> None:
    """Refuse images and labels that an evaluation can't use; `classes` is None where nobody knows yet how many there are.

    Raises:
        InputError: no image, integer images, values outside [0, 1], or labels that name no class.
    """
    if not len(x):
        raise InputError("images: expected at least one, came none; name a dataset with images")
    try:
        check_images(x)
    except ValueError as error:
        raise InputError(f"images: {error}") from None
    if y.shape != (len(x),) or y.is_floating_point():
        raise InputError(
            f"labels: expected {len(x)} class numbers, one for each image, came {y.dtype} {tuple(y.shape)}; "
            "give integers"
        )
    low, high = int(y.amin()), int(y.amax())
    if low < 0 or (classes is not None and high >= classes):
        upwards = "upwards" if classes is None else f"to {classes - 1}"
        raise InputError(
            f"labels: expected class numbers from 0 {upwards}, came {low} to {high}; "
            "check the labels or the number of classes"
        )


def check_weights(model: nn.Module) -> None:
    """Refuse weights that are no numbers.

    Raises:
        InputError: the first such weight.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"weights: expected finite numbers, came NaN or infinity in {name}; train again or take another file"
            )
