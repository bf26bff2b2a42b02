import collections
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data.batching import Batches, Plan, evaluation_batches, make_buckets
from transformer.errors import UserError

LENGTHS = st.lists(st.integers(1, 61), min_size=1, max_size=70).map(np.array)


def plan_of(lengths, batch_size=5, num_buckets=3, seed=0):
    lengths = np.array(lengths)
    lengths = lengths if lengths.ndim == 2 else lengths[:, None]
    return Plan(lengths, make_buckets(lengths, num_buckets), seed, batch_size)


def some_lengths(count=103):
    rng = np.random.default_rng(7)
    return np.stack([rng.integers(3, 60, count), rng.integers(2, 12, count)], axis=1)


def padding(lengths, buckets):
    """Tokens of padding if each example goes to the bucket that holds it with the least."""
    return sum(min(sum(b) for b in buckets if (np.array(b) >= length).all()) - length.sum() for length in lengths)


TWO_AXES = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=40).map(np.array)


@given(lengths=LENGTHS, multiple=st.integers(1, 9))
def test_two_buckets_are_the_ones_with_least_padding(lengths, multiple):
    longest = lengths.max()
    allowed = {min(-(-length // multiple) * multiple, longest) for length in lengths}
    best = min(padding(lengths[:, None], [(length,), (longest,)]) for length in allowed)
    assert padding(lengths[:, None], make_buckets(lengths[:, None], 2, multiple)) == best


@given(lengths=TWO_AXES, num_buckets=st.integers(1, 6), multiple=st.sampled_from([1, 8]))
def test_buckets_hold_everything_are_few_and_pad_less_than_one(lengths, num_buckets, multiple):
    buckets = make_buckets(lengths, num_buckets, multiple)
    longest = tuple(lengths.max(axis=0))
    assert len(set(buckets)) == len(buckets) <= num_buckets
    assert buckets[-1] == longest
    assert all(n % multiple == 0 or n == most for bucket in buckets for n, most in zip(bucket, longest, strict=True))
    assert padding(lengths, buckets) <= padding(lengths, [longest])
    if num_buckets > 1 and multiple == 1 and padding(lengths, [longest]) > 0 and len(buckets) < num_buckets:
        assert padding(lengths, buckets) == 0  # fewer than allowed only where no more are needed


def test_buckets_are_cut_along_the_axis_that_saves_most():
    lengths = np.array([[10, 3]] * 20 + [[10, 30]] * 20)
    assert make_buckets(lengths, 2) == [(10, 3), (10, 30)]
    assert make_buckets(lengths[:, ::-1], 2) == [(3, 10), (30, 10)]


@given(lengths=TWO_AXES, parts=st.integers(1, 3), tokens=st.integers(45, 300))
def test_batches_by_tokens_are_as_large_as_fits_and_divide_into_parts(lengths, parts, tokens):
    buckets = make_buckets(lengths, 3)
    try:
        plan = Plan(lengths, buckets, 0, parts, tokens)
    except UserError:
        return
    for rows, *bucket in plan.shapes:
        assert rows % parts == 0
        assert parts * max(bucket) <= rows * max(bucket) <= tokens
        assert (rows + parts) * max(bucket) > tokens
    for i in range(plan.batches_per_epoch):
        rows, bucket = plan.batch(i)
        assert (len(rows), *bucket) in plan.shapes
        assert (lengths[rows] <= bucket).all()


def test_a_batch_of_tokens_without_room_for_the_longest_example_in_each_part_is_refused():
    lengths = np.array([[5, 30], [9, 2]] * 20)
    assert Plan(lengths, [(9, 30)], 0, 4, 120).shapes == [(4, 9, 30)]
    with pytest.raises(UserError, match=r"training\.batch_tokens .* got 119; expected at least 120 = 30 tokens x .* 4"):
        Plan(lengths, make_buckets(lengths, 2), 0, 4, 119)


def test_the_census_counts_each_shape_of_an_epoch_and_gives_its_first_step():
    plan = plan_of(some_lengths(), num_buckets=4)
    for epoch in (0, 1):
        steps = range(epoch * plan.batches_per_epoch, (epoch + 1) * plan.batches_per_epoch)
        counts = collections.Counter(map(plan.shape, steps))
        assert counts == {shape: count for shape, (_, count) in plan.census.items()}
    for shape, (first, _) in plan.census.items():
        assert [plan.shape(i) == shape for i in range(first + 1)] == [False] * first + [True]
    assert list(plan.census) == plan.shapes


def test_padding_is_what_the_batches_of_an_epoch_have():
    plan = plan_of(some_lengths(), num_buckets=4)
    real = padded = 0
    for i in range(plan.batches_per_epoch):
        rows, bucket = plan.batch(i)
        real, padded = real + some_lengths()[rows].sum(), padded + len(rows) * sum(bucket)
    assert plan.padding == pytest.approx(1 - real / padded)


@settings(max_examples=60)
@given(lengths=LENGTHS, batch_size=st.integers(1, 9), num_buckets=st.integers(1, 4), seed=st.integers(0, 3))
def test_epoch_has_each_example_once_but_for_fewer_than_a_batch(lengths, batch_size, num_buckets, seed):
    if len(lengths) < batch_size:
        return
    plan = plan_of(lengths, batch_size, num_buckets, seed)
    for epoch in (0, 1):
        steps = range(epoch * plan.batches_per_epoch, (epoch + 1) * plan.batches_per_epoch)
        rows = np.concatenate([plan.batch(i)[0] for i in steps])
        assert len(set(rows.tolist())) == len(rows) > len(lengths) - batch_size


@given(lengths=LENGTHS, num_buckets=st.integers(1, 4))
def test_examples_fit_their_bucket(lengths, num_buckets):
    plan = plan_of(lengths, 1 + len(lengths) // 7, num_buckets)
    for i in range(plan.batches_per_epoch):
        rows, bucket = plan.batch(i)
        assert (lengths[rows] <= bucket[0]).all()


def test_most_batches_of_short_examples_are_short():
    plan = plan_of([5] * 50 + [50] * 50, batch_size=5, num_buckets=2)
    assert sorted(plan.batch(i)[1] for i in range(20)) == [(5,)] * 10 + [(50,)] * 10
    assert plan.shapes == [(5, 5), (5, 50)]


def test_bucket_that_never_fills_a_batch_is_no_shape():
    plan = plan_of([5] * 3 + [50] * 50, batch_size=5, num_buckets=2)
    assert plan.shapes == [(5, 50)]


def test_batch_is_a_function_of_seed_and_step_whatever_was_asked_before():
    plan, steps = plan_of(some_lengths()), list(range(90))
    shuffled = steps[:]
    random.Random(0).shuffle(shuffled)
    again = plan_of(some_lengths())
    seen = {i: again.batch(i) for i in shuffled}
    for i in steps:
        np.testing.assert_array_equal(plan.batch(i)[0], seen[i][0])
        assert plan.batch(i)[1] == seen[i][1]


def test_epochs_and_seeds_have_other_orders():
    plan, other = plan_of(some_lengths()), plan_of(some_lengths(), seed=1)
    first = [plan.batch(i)[0].tolist() for i in range(plan.batches_per_epoch)]
    second = [plan.batch(plan.batches_per_epoch + i)[0].tolist() for i in range(plan.batches_per_epoch)]
    third = [other.batch(i)[0].tolist() for i in range(plan.batches_per_epoch)]
    assert sorted(first) != sorted(second)
    assert sorted(first) != sorted(third)


def test_what_an_epoch_leaves_out_is_not_always_the_same():
    plan = plan_of(some_lengths(103))
    left = []
    for epoch in range(6):
        rows = np.concatenate([rows for rows, _ in plan.epoch(epoch)])
        left.append(frozenset(range(103)) - set(rows.tolist()))
    assert {len(rows) for rows in left} == {103 % 5}
    assert len(set(left)) > 1


def test_buckets_are_mixed_within_an_epoch():
    plan = plan_of([5] * 100 + [50] * 100, batch_size=5, num_buckets=2)
    order = [plan.batch(i)[1] for i in range(40)]
    assert order not in (sorted(order), sorted(order, reverse=True))


def test_starting_at_a_step_gives_what_a_run_from_the_start_gives_there():
    plan = plan_of(some_lengths())
    batches = Batches(plan, lambda indices, bucket: (indices.tolist(), bucket), num_threads=2, ahead=3)
    whole = list(itertools.islice(batches.starting_at(0), 50))
    assert list(itertools.islice(batches.starting_at(17), 33)) == whole[17:]
    assert list(batches.starting_at(17, stop=21)) == whole[17:21]
    assert whole == [(plan.batch(i)[0].tolist(), plan.batch(i)[1]) for i in range(50)]


def test_fewer_examples_than_a_batch_is_a_user_error_that_counts_them():
    with pytest.raises(UserError, match=r"got 4 examples.*batch_size = 5.*at most 4"):
        plan_of([3, 9, 4, 2])
    with pytest.raises(UserError, match=r"got 4 examples.*at least 5, for training.batch_tokens = 45\. Lower training"):
        Plan(np.array([[3], [9], [4], [2]]), [(9,)], 0, 1, 45)


def test_example_beyond_the_last_bucket_is_refused():
    with pytest.raises(UserError, match="longer than the longest bucket"):
        Plan(np.array([[3], [9]]), [(8,)], 0, 1)


@given(count=st.integers(0, 40), batch_size=st.integers(1, 9))
def test_evaluation_reads_each_example_once_in_order_in_batches_of_one_size(count, batch_size):
    batches = list(evaluation_batches(count, batch_size))
    assert all(len(rows) == len(weights) == batch_size for rows, weights in batches)
    counted = [int(row) for rows, weights in batches for row, weight in zip(rows, weights, strict=True) if weight]
    assert counted == list(range(count))
    assert all(0 <= row < count for rows, _ in batches for row in rows)
    assert {float(w) for _, weights in batches for w in weights} <= {0.0, 1.0}
