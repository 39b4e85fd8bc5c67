"""The size of a network by formula, where a sweep has hundreds of its kind. No torch."""

from collections.abc import Mapping
from typing import Any

from advarch.records import Size

STEM, STAGES = 16, (16, 32, 64)
"""Channels of a wide residual network's stem, and of its stages at width 1."""

WIDE_RESNET = "advarch.backbones.wide_resnet.WideResNet"


def by_formula(
    backbone: Mapping[str, Any], classes: int | None, image: tuple[int, int, int] | None
) -> Size | None:
    """The size of a plain wide residual network (ReLU, no dropout, no drop-path); None for any other network.

    A block from C to D channels on maps of s pixels (s' at its input) has 2 C + 9 C D + 2 D + 9 D^2 parameters, and C D more where
    channels or map change; as many multiply-adds a pixel, without the norms. Training keeps the inputs of two norms and of two
    convolutions, and a number per channel of each norm: 2 s' C + 2 s D + C + D.

    Args:
        backbone: the config's node.
        classes: number of logits.
        image: channels, height and width; even ones, so that every halving is exact.
    """
    plain = not backbone.get("dropout") and backbone.get("activation") in (None, "relu") and not backbone.get("drop_path")  # fmt: skip
    if backbone.get("_target_") != WIDE_RESNET or not plain or classes is None or image is None:
        return None
    depths, widths = backbone["depths"], backbone["widths"]
    if image[1] % 4 or image[2] % 4 or not all(isinstance(width, int | float) for width in widths):
        return None
    pixels, channels = image[1] * image[2], STEM
    parameters = 9 * image[0] * STEM
    macs, kept = pixels * parameters, image[0] * pixels
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        out = round(STAGES[stage] * width)
        for block in range(depth):
            before, halved = pixels, stage > 0 and block == 0
            pixels = pixels // 4 if halved else pixels
            kernels = 9 * channels * out + 9 * out * out
            kernels += channels * out if halved or channels != out else 0
            parameters += 2 * channels + 2 * out + kernels
            macs += pixels * kernels
            kept += 2 * before * channels + 2 * pixels * out + channels + out
            channels = out
    parameters += 2 * channels + (channels + 1) * classes
    kept += 2 * pixels * channels + 2 * channels
    return Size(parameters, macs + channels * classes, activations=4 * kept)
