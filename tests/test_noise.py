"""Random numbers: the published vectors of Philox, one stream per example, the distributions, the global state left alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from advarch.noise import (
    ExampleGenerator,
    child,
    derive_seed,
    normal,
    philox,
    pick,
    ready,
    uniform,
)

WORD = 0xFFFFFFFF

# kat_vectors of Random123, the authors' library, for philox4x32 with 10 rounds.
VECTORS = {
    "zeros": (
        "00000000 00000000 00000000 00000000",
        "00000000 00000000",
        "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    ),
    "ones": (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    "pi": ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
}


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def plain_philox(counter: list[int], key: list[int]) -> list[int]:
    """The algorithm on Python's integers, which don't overflow."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & WORD, (p0 >> 32) ^ c[3] ^ k[1], p0 & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


@pytest.mark.parametrize("name", VECTORS)
def test_philox_gives_the_published_vectors(name: str) -> None:
    counter, key, expected = map(words, VECTORS[name])
    found = philox([torch.tensor([word]) for word in counter], (key[0], key[1]))
    assert [int(word) for word in found] == expected


@given(st.lists(st.integers(0, WORD), min_size=4, max_size=4), st.tuples(*[st.integers(0, WORD)] * 2))
@settings(max_examples=200, deadline=None)
def test_philox_equals_the_algorithm_on_unbounded_integers(counter: list[int], key: tuple[int, int]) -> None:
    found = philox([torch.tensor([word]) for word in counter], key)
    assert [int(word) for word in found] == plain_philox(counter, list(key))


def test_words_are_philox_of_block_draw_and_index_under_the_seed() -> None:
    seed, index = 0x299F31D0A4093822, 5 + (7 << 32)
    generator = ExampleGenerator(seed, torch.tensor([index]))
    first, second = generator.words(6), generator.words(6)
    for draw, found in enumerate((first, second)):
        blocks = [plain_philox([block, draw, 5, 7], [0xA4093822, 0x299F31D0]) for block in (0, 1)]
        assert found[0].tolist() == (blocks[0] + blocks[1])[:6]


@pytest.mark.parametrize("source", [uniform, normal])
def test_an_example_s_stream_depends_neither_on_the_batch_nor_on_its_order(source) -> None:
    whole = source(torch.zeros(20, 3, 5, 5), ExampleGenerator(3, torch.arange(20)))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert torch.equal(source(torch.zeros(20, 3, 5, 5), ExampleGenerator(3, order)), whole[order])
    for index in (0, 7, 19):
        alone = source(torch.zeros(1, 3, 5, 5), ExampleGenerator(3, torch.tensor([index])))
        assert torch.equal(alone[0], whole[index])


def test_selecting_a_part_goes_on_in_its_streams_and_leaves_the_parent_as_it_was() -> None:
    parent, twin = (ExampleGenerator(3, torch.arange(6)) for _ in range(2))
    assert torch.equal(parent.words(5), twin.words(5))
    expected = twin.words(5)
    selection = torch.tensor([4, 1])
    assert torch.equal(parent[selection].words(5), expected[selection])
    assert torch.equal(
        parent[torch.tensor([False, True, False, False, True, False])].words(5), expected[[1, 4]]
    )
    assert torch.equal(parent.words(5), expected)


def test_each_draw_child_seed_and_example_has_numbers_of_its_own() -> None:
    index = torch.arange(50)
    parent = ExampleGenerator(3, index)
    drawn = [parent.words(4), parent.words(4)]
    drawn += [generator.words(4) for generator in (parent.child(0), parent.child(1), parent.child("0"))]
    drawn += [ExampleGenerator(4, index).words(4), ExampleGenerator(3 + (1 << 32), index).words(4)]
    rows = torch.cat(drawn).tolist()
    assert len({tuple(row) for row in rows}) == len(rows) == 7 * 50


def test_a_child_is_a_function_of_seed_and_name_alone() -> None:
    fresh, used = ExampleGenerator(3, torch.arange(4)), ExampleGenerator(3, torch.arange(4))
    used.words(8)
    assert torch.equal(fresh.child("pgd", 2).words(8), used.child("pgd", 2).words(8))
    assert fresh.child("pgd", 2).seed == derive_seed(3, "pgd", 2)
    assert fresh.draws == 0 and used.draws == 1


def test_child_and_pick_of_one_stream_for_the_whole_batch_simply_go_on() -> None:
    one = torch.Generator().manual_seed(0)
    assert child(one, "restart") is one
    assert pick(one, torch.tensor([0])) is one
    assert isinstance(child(ExampleGenerator(0, torch.arange(2)), 1), ExampleGenerator)


def test_without_a_generator_the_stream_is_that_of_seed_zero() -> None:
    expected = torch.rand(4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(torch.zeros(4, 2), None), expected)
    assert isinstance(ready(None), torch.Generator)


def streams(count: int) -> ExampleGenerator:
    return ExampleGenerator(11, torch.arange(count))


GENERATORS = [lambda: streams(400), lambda: torch.Generator().manual_seed(11)]


@pytest.mark.parametrize("make", GENERATORS, ids=["per example", "one stream"])
def test_uniform_is_uniform(make) -> None:
    drawn = uniform(torch.zeros(400, 50, dtype=torch.float64), make())
    assert 0 <= drawn.min() and drawn.max() < 1
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > 1e-3


@pytest.mark.parametrize("make", GENERATORS, ids=["per example", "one stream"])
def test_normal_is_normal(make) -> None:
    drawn = normal(torch.zeros(400, 50, dtype=torch.float64), make())
    assert torch.isfinite(drawn).all()
    assert stats.kstest(drawn.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("source", "law"), [(uniform, "uniform"), (normal, "norm")])
def test_numbers_are_also_distributed_right_across_examples_and_uncorrelated(source, law: str) -> None:
    drawn = source(torch.zeros(4000, 2, dtype=torch.float64), streams(4000)).numpy()
    for column in drawn.T:
        assert stats.kstest(column, law).pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 4 / np.sqrt(4000)


def test_uniform_per_example_is_a_multiple_of_two_to_the_minus_24_below_one() -> None:
    drawn = uniform(torch.zeros(100, 40), streams(100))
    assert torch.equal((drawn * 2**24).round(), drawn * 2**24)
    expected = (streams(100).words(40) >> 8).float() * 2.0**-24
    assert torch.equal(drawn, expected)


def test_normal_per_example_is_box_and_muller_of_the_words() -> None:
    drawn = normal(torch.zeros(10, 7, dtype=torch.float64), streams(10))
    raw = streams(10).words(14).double().numpy()
    expected = np.sqrt(-2 * np.log((raw[:, :7] + 1) / 2**32)) * np.cos(2 * np.pi * raw[:, 7:] / 2**32)
    np.testing.assert_allclose(drawn.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_type_are_those_asked_for(dtype: torch.dtype) -> None:
    for source in (uniform, normal):
        for generator in (streams(3), torch.Generator().manual_seed(0)):
            drawn = source(torch.zeros(3, 2, 4, dtype=dtype), generator)
            assert drawn.shape == (3, 2, 4) and drawn.dtype == dtype


def test_no_examples_draw_no_numbers() -> None:
    none = torch.zeros(0, 3, 2)
    for source in (uniform, normal):
        assert source(none, ExampleGenerator(0, torch.zeros(0, dtype=torch.long))).shape == (0, 3, 2)


def test_the_global_random_states_are_untouched() -> None:
    torch.manual_seed(5)
    legacy = np.random.get_state
    before = torch.get_rng_state(), legacy()[1].copy(), random.getstate()
    for generator in (streams(3), torch.Generator().manual_seed(0), None):
        uniform(torch.zeros(3, 9), generator)
        normal(torch.zeros(3, 9), generator)
        child(generator, "a")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (legacy()[1] == before[1]).all() and random.getstate() == before[2]


def test_a_wrong_number_of_streams_is_refused() -> None:
    with pytest.raises(ValueError, match=r"came 2 streams for 3 examples"):
        uniform(torch.zeros(3, 1), streams(2))
    with pytest.raises(ValueError, match=r"came 2 streams for 3 examples"):
        normal(torch.zeros(3, 1), streams(2))


def test_derived_seeds_are_the_golden_ones() -> None:
    # The first eight bytes of SHA-256 of the parts with their types, without the last bit; from `sha256sum`.
    assert derive_seed("1", 1) == 0xD2ED05F05C443BBE >> 1 == 7599405423671778783
    assert derive_seed(1, "1") == 5371189527054768661
    assert derive_seed(0, "weights") == 5808594629991019556


def test_derived_seeds_tell_words_numbers_and_their_order_apart() -> None:
    parts = [("1", 1), (1, "1"), (1, 1), ("1", "1"), ("11",), (11,), (1,), ("1",), ("", "1", "1"), ()]
    assert len({derive_seed(*each) for each in parts}) == len(parts)


@given(st.lists(st.integers() | st.text(), max_size=4))
@settings(max_examples=100, deadline=None)
def test_derived_seeds_are_seeds_of_63_bits_that_torch_takes(parts: list) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63 and seed == derive_seed(*parts)
    assert isinstance(torch.Generator().manual_seed(seed).initial_seed(), int)


def test_a_seed_s_upper_half_counts() -> None:
    low, high = (ExampleGenerator(seed, torch.arange(2)).words(4) for seed in (9, 9 + (1 << 40)))
    assert not torch.equal(low, high)
    assert isinstance(low, Tensor) and 0 <= low.min() and high.max() <= WORD
