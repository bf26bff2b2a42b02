"""Held-out parts of data that comes as a whole."""

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import Document, Pair
from experiments.data.splitting import RANDOM, SPLITS, TAIL, split


@given(
    count=st.integers(3, 400),
    validation=st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    test=st.sampled_from([0.0, 0.05, 0.2]),
    how=st.sampled_from(SPLITS),
    seed=st.integers(0, 5),
)
def test_every_example_is_in_one_split_in_the_order_of_the_data(count, validation, test, how, seed):
    examples = [Pair(str(i), "") for i in range(count)]
    hypothesis.assume(how == RANDOM or count >= 20)
    parts = split(examples, validation, test, how, seed)
    assert sorted(int(pair.source) for part in parts for pair in part) == list(range(count))
    for part, share in zip(parts, (None, validation, test), strict=True):
        assert part == sorted(part, key=lambda pair: int(pair.source))
        assert share is None or abs(len(part) - share * count) < 2
        assert share is None or bool(part) == bool(share)


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize(("validation", "test", "sizes"), [(0.1, 0.0, (9, 2, 0)), (0.0, 0.1, (9, 0, 2))])
def test_what_rounding_leaves_over_goes_to_a_part_that_was_asked_for(how, validation, test, sizes):
    parts = split([Pair(str(i), "") for i in range(11)], validation, test, how, 0)
    assert tuple(map(len, parts)) == (sizes if how == TAIL else tuple({9: 10, 2: 1, 0: 0}[size] for size in sizes))


def test_a_random_split_is_a_function_of_the_seed_and_not_the_end():
    examples = [Pair(str(i), "") for i in range(200)]
    first, again, other = (split(examples, 0.1, 0.1, RANDOM, seed) for seed in (3, 3, 4))
    assert first == again != other
    assert first[1] != examples[160:180]


@pytest.mark.parametrize(("share", "count"), [(0.1, 10), (0.05, 100), (0.05, 1_000), (0.1, 1_115_394), (0.3, 30)])
def test_the_tail_is_cut_by_decimal_numbers(share, count):
    """In floating point, 1 - 0.05 - 0.05 of 100 is 89.99..."""
    train, validation, test = split([Document("x" * count)], share, share, TAIL, 0)
    tenths = {0.1: (8, 1), 0.05: (9, 0.5), 0.3: (4, 3)}[share]
    assert len(train[0].text) == int(tenths[0] * count) // 10
    assert len(test[0].text) == int(tenths[1] * count) // 10
    assert len(train[0].text + validation[0].text + test[0].text) == count


@given(
    lines=st.lists(st.integers(0, 30), min_size=60, max_size=90), seed=st.integers(0, 9), test=st.sampled_from([0, 0.2])
)
def test_a_text_split_at_random_loses_one_stretch_of_whole_lines(lines, seed, test):
    text = "".join(f"{i}{'.' * length}\n" for i, length in enumerate(lines))
    train, (validation,), tests = split([Document(text, "name")], 0.2, test, RANDOM, seed)
    held_out = validation.text + "".join(document.text for document in tests)
    assert 1 <= len(train) <= 2
    assert all(document.text.endswith("\n") and document.name == "name" for document in (*train, validation, *tests))
    assert text in {train[0].text + held_out + train[-1].text, train[0].text + held_out, held_out + train[0].text}
    assert abs(len(held_out) - (0.2 + test) * len(text)) <= 35
