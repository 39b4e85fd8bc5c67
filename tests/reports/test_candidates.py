"""What is read from judged candidates: correlations as scipy has them, a planted edge found, the pictures."""

import io
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest
from matplotlib import image
from scipy import stats

from advarch.cli.main import main
from advarch.errors import InputError
from advarch.genotype import candidates
from advarch.genotype.candidates import Candidate, candidate
from advarch.genotype.measures import alpha
from advarch.genotype.space import ROBNET_OPERATIONS, Space
from advarch.reports import candidate_figures
from advarch.reports.candidate_study import correlations, separate, statistic
from advarch.reports.correlation import kendall, pearson, spearman

SPACE = Space(ROBNET_OPERATIONS, nodes=2, inputs=None, layout="shared")
OPERATIONS = ("sep_conv_3x3", "skip_connect")


def planted(count: int = 80) -> list[Candidate]:
    """Two operations make a cell robust, the convolutions 1-2 and 0-3; the others add next to nothing."""
    random, found = Random(0), []
    for _ in range(count):
        genotype = SPACE.sample(random)
        bits = alpha(genotype, OPERATIONS)
        robust = 0.2 + 0.3 * bits[2] + 0.3 * bits[4] + 0.001 * sum(bits) + 0.0001 * random.random()
        found.append(candidate(SPACE, genotype, parameters=100 + sum(bits), clean=0.9, robust=robust))
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_scipy_s(ties: bool) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 40))
    y = y + x
    if ties:
        x, y = x.round(), y.round()
    assert pearson(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert all(math.isnan(f(np.ones(3), np.arange(3.0))) for f in (pearson, spearman, kendall))


def test_a_column_s_correlation_is_that_of_the_table() -> None:
    found = planted()
    by_name = {row.statistic: row for row in correlations(found)}
    robust = [one.robust for one in found]
    density = [sum(alpha(one.genotype, OPERATIONS)) / 10 for one in found]
    assert by_name["density"].pearson == pytest.approx(np.corrcoef(density, robust)[0, 1])
    direct = [sum(alpha(one.genotype, OPERATIONS)[bit] for bit in (2, 8)) for one in found]
    assert [one.direct_convolutions for one in found] == direct
    assert by_name["direct_convolutions"].kendall == pytest.approx(stats.kendalltau(direct, robust).statistic)
    convolutions = [sum(alpha(one.genotype, OPERATIONS)[::2]) for one in found]
    skip = [statistic(one, "skip_convolutions") for one in found]
    assert skip == [a - b for a, b in zip(convolutions, direct, strict=True)]
    shares = [b / a if a else 0.0 for a, b in zip(convolutions, direct, strict=True)]
    assert [statistic(one, "direct_share") for one in found] == pytest.approx(shares)


def test_the_classifier_separates_a_planted_table_by_the_planted_operations() -> None:
    found = separate(planted(), share=0.2)
    assert found.accuracy > 0.95 and len(found.robust) == len(found.places) == 32 and sum(found.robust) == 16
    order = sorted(range(10), key=lambda bit: -found.weights[bit])
    assert {found.operations[bit] for bit in order[:2]} == {"sep 3×3 1-2", "sep 3×3 0-3"}
    assert found.weights[order[1]] > 2 * found.weights[order[2]]
    assert separate(planted(), share=0.2) == found
    # The plane keeps apart what the classifier tells apart: a point's nearest neighbour is mostly of its kind.
    places = np.asarray(found.places)
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 1e9 * np.eye(len(places))
    alike = [found.robust[at] == found.robust[near] for at, near in enumerate(distances.argmin(1))]
    assert np.mean(alike) > 0.8


def test_the_command_says_and_draws_what_a_run_tried(tmp_path: Path, capsys) -> None:
    candidates.write(planted(12), tmp_path / "candidates.csv")
    assert main(["report", "draw=candidates", f"candidates={tmp_path}"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("density and robust accuracy: Pearson 0.") and len(said) == 6 + 3
    drawn = {f"candidates_{name}.png" for name in ("density", "direct_edges", "separation")}
    assert {path.name for path in tmp_path.iterdir()} == drawn | {"candidates.csv"}
    candidates.write([], tmp_path / "candidates.csv")
    for words, error in (
        ([], "candidates: expected a run folder or a candidates.csv, came none"),
        ([f"candidates={tmp_path}"], "expected candidates, came a table without rows"),
    ):
        assert main(["report", "draw=candidates", *words]) == 2 and error in capsys.readouterr().err


def test_too_few_or_different_candidates_are_explained() -> None:
    with pytest.raises(InputError, match="expected at least 10 for a classifier, came 3"):
        separate(planted(3))
    other = Space(ROBNET_OPERATIONS, nodes=1, inputs=None, layout="shared").sample(Random(0))
    mixed = [*planted(10), candidate(SPACE, other, parameters=1, clean=0.9, robust=0.99)]
    with pytest.raises(InputError, match="expected cells of as many nodes each"):
        separate(mixed)


@pytest.mark.parametrize("name", ["separation", "density", "direct_edges"])
def test_the_figures_are_drawn_in_ink_and_repeat(name: str) -> None:
    found = separate(planted()) if name == "separation" else planted()
    render = getattr(candidate_figures, name)
    png = render(found)
    shown = np.asarray(image.imread(io.BytesIO(png), format="png"))[..., :3]
    assert shown.std() > 0.02 and shown[0, 0].min() == 1 and png == render(found)
