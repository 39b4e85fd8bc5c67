"""Which wrong classes a targeted attack aims at, and how many rows go through the model together."""

from torch import Tensor

_CPU_ROWS = 128
_CPU_PIXELS = 32_768
_CPU_FEWEST = 16
_DEVICE_ROWS = 256


def available_targets(classes: int, targets: int) -> int:
    """How many targets there are to aim at: `targets`, or every wrong class where there are fewer.

    Raises:
        ValueError: fewer than two classes.
    """
    if classes < 2:
        raise ValueError(f"expected logits of at least 2 classes, came {classes}: no wrong class to aim at")
    return min(targets, classes - 1)


def likeliest_targets(logits: Tensor, targets: int) -> Tensor:
    """The classes of the 2nd, 3rd, ... (targets+1)-th largest logit, cut to the classes there are: (batch, targets).

    For a correctly classified image the largest logit is the label's, so these are its likeliest wrong classes.
    """
    count = available_targets(logits.shape[1], targets)
    return logits.sort(dim=1).indices.flip(1)[:, 1 : count + 1]


def waves(targets: int) -> list[range]:
    """Positions of the targets that are attacked together: the likeliest alone, then all the others at once.

    Most images that fall do so at the likeliest target, and the others would then be wasted; for the rest one large
    batch of (image, target) pairs is cheaper than many small ones. The split is fixed, never a matter of how many
    images are left, so an image's result does not depend on its batch.
    """
    return [wave for wave in (range(1), range(1, targets)) if len(wave)]


def rows_together(x: Tensor, max_rows: int | None) -> int:
    """How many rows one forward pass takes: `max_rows`, or what suits the device where it is None.

    On a CPU as many as make 32,768 pixels, from 16 to 128: more would gain nothing, and what is asked ahead may be in vain.
    Elsewhere 256, or as many as there are images.
    """
    if max_rows is not None:
        return max_rows
    if x.device.type != "cpu":
        return max(_DEVICE_ROWS, len(x))
    return min(max(_CPU_PIXELS // x.shape[2:].numel(), _CPU_FEWEST), _CPU_ROWS)
