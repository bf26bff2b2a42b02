import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.ragged import Ragged
from experiments.data.streams import Stream, Windows
from experiments.data.tokenizers.tokens import SpecialTokens
from transformer.errors import UserError

BEGIN, END = SpecialTokens.begin, SpecialTokens.end
DOCUMENTS = st.lists(st.lists(st.integers(6, 40), max_size=9), max_size=7)


def windows_of_epoch(windows, number):
    steps = range(number * windows.batches_per_epoch, (number + 1) * windows.batches_per_epoch)
    return np.concatenate([windows.batch(i)[0] for i in steps])


@given(documents=DOCUMENTS)
def test_stream_is_the_one_of_the_docstring(documents):
    stream = Stream.of(Ragged.of(documents))
    assert stream.inputs.tolist() == [token for text in documents for token in [BEGIN, *text]]
    assert stream.labels.tolist() == [token for text in documents for token in [*text, END]]
    assert stream.documents.tolist() == [i for i, text in enumerate(documents, 1) for _ in range(len(text) + 1)]
    assert len(stream) == sum(len(text) + 1 for text in documents)
    assert {x.dtype.name for x in (stream.inputs, stream.labels, stream.documents)} == {"int32"}


@given(documents=DOCUMENTS.filter(len), starts=st.lists(st.integers(0, 60), min_size=1), length=st.integers(1, 11))
def test_rows_are_neighbours_and_stay_at_the_last_place_behind_the_end(documents, starts, length):
    stream = Stream.of(Ragged.of(documents))
    expected = [[min(start + i, len(stream) - 1) for i in range(length)] for start in starts]
    assert stream.rows(np.array(starts), length).tolist() == expected


@given(documents=DOCUMENTS.filter(len), length=st.integers(1, 13), data=st.data())
def test_segments_count_a_windows_documents_from_one(documents, length, data):
    stream = Stream.of(Ragged.of(documents))
    starts = np.array(data.draw(st.lists(st.integers(0, len(stream) - 1), min_size=1, max_size=4)))
    rows = stream.rows(starts, length)
    for numbers, places in zip(stream.segments(rows), rows, strict=True):
        documents_here = stream.documents[places]
        assert numbers[0] == 1
        assert (np.diff(numbers) == np.diff(documents_here)).all()
        assert ((numbers[:, None] == numbers) == (documents_here[:, None] == documents_here)).all()


SIZES = dict(
    context=st.integers(2, 13), batch_size=st.integers(1, 5), spare=st.integers(0, 150), seed=st.integers(0, 9)
)


@given(**SIZES)
def test_windows_of_an_epoch_do_not_overlap_and_leave_out_less_than_two_and_a_batch(context, batch_size, spare, seed):
    length = context * (batch_size + 1) - 1 + spare
    windows = Windows(length, context, batch_size, seed)
    for epoch in (0, 1, 5):
        starts = windows_of_epoch(windows, epoch)
        read = (starts[:, None] + np.arange(context)).ravel()
        assert len(set(read.tolist())) == len(read)
        assert read.min() >= 0
        assert read.max() < length
        assert length - len(read) < (2 + batch_size) * context - 1


@given(**SIZES)
def test_text_shorter_than_a_batch_at_any_phase_is_a_user_error_with_the_numbers(context, batch_size, spare, seed):
    least = context * (batch_size + 1) - 1
    assert Windows(least, context, batch_size, seed).batches_per_epoch == 1
    short = max(least - 1 - spare, 0)
    with pytest.raises(
        UserError, match=rf"got {short:,} tokens; expected {least:,} or more.*batch_size or task.context"
    ):
        Windows(short, context, batch_size, seed)


def test_batch_is_a_function_of_seed_and_step_whatever_was_asked_before():
    steps = list(range(70))
    here, there = (Windows(1009, 7, 5, seed=3) for _ in range(2))
    assert here.batches_per_epoch < 30
    shuffled = random.Random(0).sample(steps, len(steps))
    seen = {i: there.batch(i) for i in shuffled}
    for i in steps:
        starts, number = here.batch(i)
        np.testing.assert_array_equal(starts, seen[i][0])
        assert number == seen[i][1] == i


def test_epochs_and_seeds_have_another_phase_and_another_order():
    drawn = [windows_of_epoch(Windows(1009, 7, 5, seed), epoch) for seed in range(4) for epoch in range(4)]
    assert len({int(starts[0] % 7) for starts in drawn}) > 3
    orders = {tuple(np.argsort(starts)) for starts in drawn}
    assert len(orders) == len(drawn)
    assert all((starts % 7 == starts[0] % 7).all() for starts in drawn)


def test_a_batch_has_the_shape_that_is_announced_and_no_padding():
    windows = Windows(1009, 7, 5, seed=3)
    assert windows.shapes == [(5, 7)]
    assert len(windows.batch(11)[0]) == 5
    assert windows.padding == 0.0
