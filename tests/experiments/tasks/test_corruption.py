import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.tokenizers.tokens import FIRST, SpecialTokens
from experiments.tasks.corruption import Spans, mask_tokens

SIZE, SENTINEL = 37, 100
MASK, END = SpecialTokens.mask, SpecialTokens.end
SPANS = st.builds(
    Spans.of,
    length=st.integers(2, 61),
    rate=st.floats(0.01, 0.99),
    mean=st.floats(1.01, 9.0),
)


def rng(seed=0):
    return np.random.default_rng(seed)


def within(count, total, share, deviations=5):
    """Check that a binomial count is within so many standard deviations of the expected one."""
    return abs(count - total * share) < deviations * np.sqrt(total * share * (1 - share))


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_shares_of_what_is_hidden_are_those_of_bert(rate):
    tokens = rng().integers(0, SIZE, (60, 700)).astype(np.int32)
    ordinary = tokens >= FIRST
    source, weights = mask_tokens(tokens, rate, SIZE, rng(1))
    chosen = weights > 0
    assert within(chosen.sum(), ordinary.sum(), rate)
    masked, changed = chosen & (source == MASK), chosen & (source != MASK) & (source != tokens)
    assert within(masked.sum(), chosen.sum(), 0.8)
    drawn_again = 1 / (SIZE - FIRST)  # another token may be the token itself
    assert within(changed.sum(), chosen.sum(), 0.1 * (1 - drawn_again))
    assert np.bincount(source[changed], minlength=SIZE)[FIRST:].min() > 0


@given(st.integers(0, 99), st.floats(0.01, 0.99), st.integers(FIRST + 1, 50))
def test_weight_stands_exactly_where_something_was_chosen_and_special_tokens_never_are(seed, rate, size):
    tokens = rng(seed).integers(0, size, (3, 41)).astype(np.int32)
    source, weights = mask_tokens(tokens, rate, size, rng(seed + 1))
    assert source.dtype == np.int32
    assert set(weights.ravel().tolist()) <= {0.0, 1.0}
    assert (source == tokens)[weights == 0].all()
    assert (weights[tokens < FIRST] == 0).all()
    new = source[source != tokens]
    assert ((new == MASK) | ((new >= FIRST) & (new < size))).all()


def test_nothing_but_special_tokens_hides_nothing():
    tokens = np.arange(FIRST, dtype=np.int32)[None]
    source, weights = mask_tokens(tokens, 0.99, FIRST, rng())
    assert source.tolist() == tokens.tolist()
    assert not weights.any()


@settings(max_examples=100)
@given(spans=SPANS, seed=st.integers(0, 99))
def test_every_window_hides_as_many_tokens_in_as_many_spans_as_announced(spans, seed):
    hidden = spans.draw(5, rng(seed))
    assert hidden.shape == (5, spans.length)
    assert (hidden.sum(axis=1) == spans.hidden).all()
    starts = hidden & ~np.pad(hidden, ((0, 0), (1, 0)))[:, :-1]
    assert (starts.sum(axis=1) == spans.count).all()  # spans that touched would be one
    assert not hidden[:, 0].any()
    assert hidden[:, -1].all()
    assert 0 < spans.hidden < spans.length


def spliced(source, target):
    """The window, each sentinel of the source replaced by the tokens behind it in the target."""
    spans_of, current = {}, None
    for token in target:
        if token >= SENTINEL:
            current = spans_of.setdefault(token, [])
        else:
            current.append(token)
    return [other for token in source for other in (spans_of[token] if token >= SENTINEL else [token])]


@settings(max_examples=100)
@given(spans=SPANS, seed=st.integers(0, 99))
def test_source_and_target_splice_to_the_window(spans, seed):
    tokens = rng(seed).integers(0, SIZE, (4, spans.length)).astype(np.int32)
    hidden = spans.draw(4, rng(seed + 1))
    source, target, source_at, target_at = spans.corrupt(tokens, hidden, SENTINEL)
    assert source.shape == source_at.shape == (4, spans.source_length)
    assert target.shape == target_at.shape == (4, spans.target_length)
    assert source.dtype == target.dtype == np.int32
    sentinels = list(range(SENTINEL, SENTINEL + spans.count))
    for b in range(4):
        assert (source[b, -1], target[b, -1]) == (END, END)
        assert spliced(source[b, :-1], target[b, :-1]) == tokens[b].tolist()
        for side in (source[b], target[b]):
            assert side[side >= SENTINEL].tolist() == sentinels


@given(spans=SPANS, seed=st.integers(0, 99))
def test_each_token_has_the_index_in_the_window_from_which_it_is_taken(spans, seed):
    tokens = rng(seed).integers(0, SIZE, (4, spans.length)).astype(np.int32)
    hidden = spans.draw(4, rng(seed + 1))
    source, target, source_at, target_at = spans.corrupt(tokens, hidden, SENTINEL)
    for side, places in ((source, source_at), (target, target_at)):
        assert (places[:, -1] == spans.length - 1).all()
        assert (np.diff(places, axis=1) >= 0).all()
        ordinary = side[:, :-1] < SENTINEL
        for b in range(4):
            at = places[b, :-1]
            assert (tokens[b, at] == side[b, :-1])[ordinary[b]].all()
            starts = np.flatnonzero(hidden[b] & ~np.pad(hidden[b], (1, 0))[:-1])
            assert at[~ordinary[b]].tolist() == starts.tolist()


@given(length=st.integers(2, 300), rate=st.floats(0.01, 0.99), mean=st.floats(1.01, 20.0))
def test_numbers_are_near_the_rate_and_the_mean_length(length, rate, mean):
    spans = Spans.of(length, rate, mean)
    assert abs(spans.hidden - length * rate) <= 0.5 or spans.hidden in (1, length - 1)
    room = min(spans.hidden, spans.length - spans.hidden)
    assert abs(spans.count - spans.hidden / mean) <= 0.5 or spans.count in (1, room)
    assert 1 <= spans.count <= room


def test_composition_of_spans_is_uniform():
    hidden = Spans(5, 2, 2).draw(6000, rng())
    kinds, counts = np.unique(hidden, axis=0, return_counts=True)
    assert kinds.tolist() == [[False, False, True, False, True], [False, True, False, False, True]]
    assert all(within(count, 6000, 1 / 2) for count in counts)


def test_degenerate_windows_have_one_hidden_token_and_one_left():
    assert Spans.of(2, 0.01, 3.0) == Spans.of(2, 0.99, 3.0) == Spans(2, 1, 1)
    assert Spans(2, 1, 1).draw(3, rng()).tolist() == [[False, True]] * 3
    source, target, *_ = Spans(2, 1, 1).corrupt(np.array([[7, 8]], np.int32), np.array([[False, True]]), SENTINEL)
    assert source.tolist() == [[7, SENTINEL, END]]
    assert target.tolist() == [[SENTINEL, 8, END]]
