"""Times of unequal work are no comparison."""

import math

import pytest
import torch

from advarch.bench.equal import noise, unlike_counts, unlike_losses, unlike_verdicts
from advarch.bench.row import compared


def test_a_first_loss_may_differ_by_five_percent() -> None:
    assert unlike_losses({"advarch": 2.0, "near": 2.09, "also near": 1.91}) == {}
    found = unlike_losses({"advarch": 2.0, "weak": 1.89, "broken": math.nan})
    assert found == {
        "weak": "its first loss is 1.890 and ours 2.000",
        "broken": "its first loss is nan and ours 2.000",
    }


def test_noise_is_two_standard_errors_of_a_binomial_count() -> None:
    assert noise(100, 50) == pytest.approx(10.0)
    assert noise(100, 90) == pytest.approx(6.0)
    assert noise(100, 0) == noise(100, 100) == 1.0


def test_standing_images_may_differ_by_noise() -> None:
    assert unlike_counts({"advarch": 50, "peer": 60}, 100) == {}
    found = unlike_counts({"advarch": 50, "peer": 61}, 100)
    assert found == {"peer": "61 of 100 images stand and 50 with ours"}


def test_verdicts_may_not_differ_at_all() -> None:
    stands = {"advarch": torch.tensor([True, False, True]), "peer": torch.tensor([True, True, True])}
    assert unlike_verdicts(stands, "peer") == {"advarch": "the verdict differs on 1 of 3 images"}
    assert unlike_verdicts({"advarch": stands["peer"], "peer": stands["peer"]}, "peer") == {}


def test_a_peer_that_did_other_work_gets_no_ratio() -> None:
    row = compared(
        "a row", {"advarch": 2.0, "fair": 5.0, "weak": 1.0}, 10, "images/s", refused={"weak": "it rested"}
    )
    assert row.ratios == {"fair": 2.5}
    assert row.figures == {"advarch, images/s": 5.0, "fair, images/s": 2.0, "weak, images/s": 10.0}
    assert row.notes == ("weak: no ratio, for it rested",)
