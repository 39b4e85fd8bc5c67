"""Numbers as people write them: fractions, pixels, shares of the threat's radius. OmegaConf resolvers for YAML."""

import re
from typing import Any

from omegaconf import OmegaConf

_FRACTION = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*/\s*([\d.]+)\s*")


def fraction(value: Any) -> Any:
    """The number that a text such as 8/255 stands for; anything else is handed back as it is."""
    match = _FRACTION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return float(match[1]) / float(match[2])
    except (ValueError, ZeroDivisionError):
        return value


def register_resolvers() -> None:
    """Make ${px:8} (8/255) and ${times_eps:0.25} (a quarter of threat.eps) known to every config of this process."""
    OmegaConf.register_new_resolver("px", _pixels, replace=True)
    OmegaConf.register_new_resolver("times_eps", _times_eps, replace=True)


def _pixels(levels: float) -> float:
    return float(levels) / 255


def _times_eps(factor: float, *, _root_: Any) -> float:
    eps = fraction(_root_.threat.eps)
    # A radius that is not a number is reported where it stands (threat.eps), not in every step size made from it.
    return float(factor) * float(eps) if isinstance(eps, (int, float)) else float("nan")
