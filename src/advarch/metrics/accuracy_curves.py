"""Robust accuracy against the attack's radius and against its steps (RACL, Fig. 4; RobNet, Fig. 10)."""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Ge
from torch import nn

from advarch.errors import InputError
from advarch.metrics.measured import Measured
from advarch.records import EvalRecord
from advarch.types import Images, Labels


def accuracy_curves(
    model: nn.Module,
    x: Images,
    y: Labels,
    *,
    record: EvalRecord,
    column: str,
    eps: Sequence[Annotated[float, Ge(0)]] = (),
    steps: Sequence[Annotated[int, Ge(1)]] = (),
) -> Measured:
    """What an attack of the evaluation leaves, with other radii (its step follows) and with other numbers of steps.

    Args:
        model: not looked at: the evaluation has attacked it.
        x: not looked at.
        y: not looked at.
        record: an evaluation with the columns `clean`, `<column>`, `<column>@eps=...` and `<column>@steps=...`.
        column: an attack of the evaluation, by its name there.
        eps: radii in units of pixels in [0, 1]; 0 is the clean accuracy and always there.
        steps: numbers of steps.

    Returns:
        Numbers `<what>=<value>`; a row for each point with the 95 % Wilson interval, and the attack, its norm and radius.

    Raises:
        InputError: the evaluation has no such attack.
    """
    del model, x, y
    if record.result(column) is None:
        raise InputError(
            f"accuracy_curves.column: expected an attack of the evaluation, came {column!r}; "
            "name one, or add it to evaluation.attacks"
        )
    points = [("eps", 0.0, "clean"), *(("eps", value, f"{column}@eps={value:g}") for value in eps)]
    points += [("steps", float(value), f"{column}@steps={value:g}") for value in steps]
    found = [(what, value, result) for what, value, name in sorted(points) if (result := record.result(name))]
    return Measured(
        numbers={f"{what}={value:g}": result.accuracy for what, value, result in found},
        table={
            "varied": [what for what, _, _ in found],
            "value": [value for _, value, _ in found],
            "accuracy": [result.accuracy for _, _, result in found],
            "low": [result.low for _, _, result in found],
            "high": [result.high for _, _, result in found],
            "attack": [column] * len(found),
            "norm": [record.norm] * len(found),
            "eps": [value if what == "eps" else record.eps for what, value, _ in found],
        },
    )
