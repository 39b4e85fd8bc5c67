"""The picture of every measure of an analysis, by the name of its function."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advarch.records import MeasureResult
from advarch.reports import accuracy_curves, attention, by_place, fsp, gradient_variance, landscape
from advarch.reports.by_place import Places

Numbers = Mapping[str, float]
Table = Mapping[str, Sequence[float | int | str]]


def render(result: MeasureResult, *, dark: bool = False) -> bytes:
    """The picture of a measure that was not skipped, as PNG bytes; of a measure unknown here its columns by place."""
    numbers = {name: _number(value) for name, value in result.numbers.items()}
    table = {name: [_number(value) for value in column] for name, column in result.table.items()}
    if result.kind in PICTURES:
        return PICTURES[result.kind](numbers, table, dark=dark)
    places = BY_PLACE.get(result.kind, _any)
    return by_place.render(places(numbers, table), dark=dark)


def _lipschitz(numbers: Numbers, table: Table) -> Places:
    return Places(
        title="Empirical Lipschitz constant",
        words=f"of the network (diamond) {numbers['network']:.3g}; {100 * numbers['stability']:.1f} % of the images keep their label",
        across="block, from the input on, and the network",
        up="change of the output / of the image",
        places=_words(table["block"]),
        lines={"constant": _values(table["constant"])},
        apart=True,
    )


def _weight_variance(numbers: Numbers, table: Table) -> Places:
    return Places(
        title="Variance of the weights",
        words=f"{numbers['variance_ratio']:.3g} times the initial one (geometric mean); "
        f"ln of the bound {numbers['log_bound']:.1f}, at first {numbers['log_bound_initial']:.1f}",
        across="layer: convolutions from the input on, then linear ones",
        up="variance",
        places=_words(table["layer"]),
        lines={"initial": _values(table["initial_variance"]), "trained": _values(table["variance"])},
    )


def _convolution_norms(numbers: Numbers, table: Table) -> Places:
    return Places(
        title="Norms of the convolutions",
        words=f"of the kernel as a matrix {numbers['kernel_over_exact']:.2g} times the exact one (geometric mean)",
        across="convolution, from the input on",
        up="largest singular value",
        places=_words(table["convolution"]),
        lines={
            "exact, circular": _values(table["exact"]),
            "as padded": _values(table["padded"]),
            "kernel": _values(table["kernel"]),
        },
    )


def _cell_bound(numbers: Numbers, table: Table) -> Places:
    sums: dict[str, dict[str, float]] = {"constant_exact": {}, "constant": {}}
    for column, found in sums.items():
        for cell, value in zip(_words(table["cell"]), _values(table[column]), strict=True):
            found[cell] = found.get(cell, 0.0) + (math.log(value) if value > 0 else math.nan)
    return Places(
        title="Upper bound of the Lipschitz constant",
        words=f"ln of the network's: {numbers['log_bound']:.1f}, with exact norms {numbers['log_bound_exact']:.1f}",
        across="cell, from the input on",
        up="ln of a cell's product over its nodes",
        places=list(sums["constant"]),
        lines={
            "exact norms": list(sums["constant_exact"].values()),
            "kernel norms": list(sums["constant"].values()),
        },
    )


def _wiring(numbers: Numbers, table: Table) -> Places:
    return Places(
        title="Wiring of the cells",
        words=f"density {numbers['density']:.3f}; {100 * numbers['direct_edge_share']:.0f} % of the direct edges convolve",
        across="cell, from the input on",
        up="share",
        places=_words(table["cell"]),
        lines={
            "density": _values(table["density"]),
            "direct edges that convolve": _values(table["direct_edge_share"]),
        },
    )


def _any(numbers: Numbers, table: Table) -> Places:
    columns = {
        name: column for name, column in table.items() if not any(isinstance(value, str) for value in column)
    }
    names = next(
        (column for column in table.values() if any(isinstance(value, str) for value in column)), None
    )
    count = max((len(column) for column in table.values()), default=0)
    return Places(
        title="Measured",
        words=", ".join(f"{name} {value:.4g}" for name, value in list(numbers.items())[:4]),
        across="row of the table",
        up="",
        places=_words(names or range(1, count + 1)) or [""],
        lines={name: _values(column) for name, column in columns.items()} or {"": [math.nan]},
    )


PICTURES: dict[str, Callable[..., bytes]] = {
    "accuracy_curves": accuracy_curves.render,
    "attention": attention.render,
    "fsp": fsp.render,
    "gradient_variance": gradient_variance.render,
    "landscape": landscape.render,
}

BY_PLACE: dict[str, Callable[[Numbers, Table], Places]] = {
    "cell_bound": _cell_bound,
    "convolution_norms": _convolution_norms,
    "lipschitz": _lipschitz,
    "weight_variance": _weight_variance,
    "wiring": _wiring,
}


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _words(column: Sequence[float | int | str]) -> list[str]:
    return [str(value) for value in column]


def _values(column: Sequence[float | int | str]) -> list[float]:
    return [float(value) for value in column]
