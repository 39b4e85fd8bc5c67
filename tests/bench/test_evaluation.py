"""AutoAttack: same verdicts or no ratio, and the estimate of a whole test set."""

import pytest
import torch

from advarch.bench.evaluation import COMPILED, PEER_COMPILED, estimated, verdicts

STANDS = torch.tensor([True, True, False, False, True])


def row(**stands: torch.Tensor):
    taken = {"advarch": 2.0, "pyautoattack": 8.0, COMPILED: 1.0}
    found = {name: stands.get(name.replace(", ", "_"), STANDS) for name in taken}
    return verdicts("AutoAttack: x", taken, found, {}, ("a note",), 0.1)


def test_equal_verdicts_give_a_ratio_for_each_way() -> None:
    found = row()
    assert found.ratios == {"pyautoattack": 4.0, PEER_COMPILED: 8.0}
    assert found.figures["advarch, s per 100 images"] == 40.0
    assert found.notes[0] == "3 of 5 images stand at 0.100" and found.notes[-1] == "a note"


def test_the_way_whose_verdict_differs_has_none() -> None:
    found = row(advarch_compiled=~STANDS)
    assert found.ratios == {"pyautoattack": 4.0}
    assert (
        "advarch, compiled: no ratio to pyautoattack, for the verdict differs on 5 of 5 images" in found.notes
    )


def test_ten_thousand_images_take_what_five_thousand_that_stand_take() -> None:
    assert estimated(12.0, 50) == pytest.approx(12.0 * 100)
    assert estimated(12.0, 100) == pytest.approx(12.0 * 50)
    assert estimated(12.0, 0) is None
    whole = "advarch, 10,000 images of which half stand, estimated, min"
    assert row().figures[whole] == pytest.approx(2.0 / 3 * 5000 / 60)
