"""Curves are read from an evaluation's columns, in order, with their intervals."""

import pytest
import torch
from torch import nn

from advarch.errors import InputError
from advarch.metrics.accuracy_curves import accuracy_curves
from advarch.records import AttackResult, EvalRecord

ARGUMENTS = (nn.Flatten(), torch.zeros(1, 1, 1, 1), torch.zeros(1, dtype=torch.long))


def result(name: str, correct: int) -> AttackResult:
    return AttackResult(name, correct, 10, correct / 10 - 0.1, correct / 10 + 0.1, None, None, 0, 0.0)


RECORD = EvalRecord(
    "best",
    "digits",
    "inf",
    0.2,
    (result("clean", 9), result("pgd20", 5), result("pgd20@eps=0.1", 7), result("pgd20@steps=3", 6)),
)


def test_points_come_in_order_with_the_clean_accuracy_at_radius_zero() -> None:
    found = accuracy_curves(*ARGUMENTS, record=RECORD, column="pgd20", eps=[0.1, 0.3], steps=[3])
    assert found.table["varied"] == ["eps", "eps", "steps"]
    assert found.table["value"] == [0.0, 0.1, 3.0]
    assert found.table["accuracy"] == [0.9, 0.7, 0.6] and found.table["low"] == pytest.approx([0.8, 0.6, 0.5])
    assert found.table["eps"] == [0.0, 0.1, 0.2]
    assert set(found.table["attack"]) == {"pgd20"} and set(found.table["norm"]) == {"inf"}
    assert found.numbers == {"eps=0": 0.9, "eps=0.1": 0.7, "steps=3": 0.6}


def test_an_attack_that_the_evaluation_lacks_is_named() -> None:
    with pytest.raises(InputError, match="'mim'"):
        accuracy_curves(*ARGUMENTS, record=RECORD, column="mim")
