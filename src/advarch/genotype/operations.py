"""The words for what an edge of a cell computes (Zoph et al. 2018; Liu et al. 2019; RobNet)."""

from typing import Literal, NamedTuple

Family = Literal["separable", "dilated", "factorised", "pool", "skip", "none"]


class Operation(NamedTuple):
    """An operation's family, its window in pixels, and a short name for drawings."""

    family: Family
    kernel: int
    label: str

    @property
    def convolves(self) -> bool:
        """Whether it is a convolution on stride 1; a skip on stride 2 has weights too, and still counts as a skip."""
        return self.family in ("separable", "dilated", "factorised")


OPERATIONS = {
    "sep_conv_3x3": Operation("separable", 3, "sep 3×3"),
    "sep_conv_5x5": Operation("separable", 5, "sep 5×5"),
    "sep_conv_7x7": Operation("separable", 7, "sep 7×7"),
    "dil_conv_3x3": Operation("dilated", 3, "dil 3×3"),
    "dil_conv_5x5": Operation("dilated", 5, "dil 5×5"),
    "conv_7x1_1x7": Operation("factorised", 7, "7×1 1×7"),
    "max_pool_3x3": Operation("pool", 3, "max 3×3"),
    "avg_pool_3x3": Operation("pool", 3, "avg 3×3"),
    "skip_connect": Operation("skip", 1, "skip"),
    "none": Operation("none", 0, "none"),
}
