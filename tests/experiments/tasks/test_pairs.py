import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transformer
from experiments.data.examples import Pair, Splits
from experiments.data.ragged import Ragged
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Characters
from experiments.tasks.build import build_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.framing import FRAMES
from experiments.tasks.pairs import Ids, prepare
from experiments.tasks.task import TaskSettings
from experiments.training.evaluation import Evaluation
from transformer.decoding import DecodingConfig
from transformer.errors import UserError

ARCHITECTURES = sorted(FRAMES)
PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6)


def ids_of(lengths, seed=0):
    """Pairs of random tokens of these lengths."""
    rng = np.random.default_rng(seed)
    sources, targets = ([rng.integers(6, 40, n) for n in side] for side in zip(*lengths, strict=True))
    return Ids(Ragged.of(sources), Ragged.of(targets))


def settings_of(architecture, limit=None, too_long="cut"):
    return TaskSettings(TaskConfig(), architecture, batch_size=1, limit=limit, too_long=too_long)


@settings(max_examples=100)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(train=PAIRS, held_out=PAIRS, limit=st.integers(3, 40), ends=st.booleans())
def test_every_framed_example_of_every_split_is_within_the_limit(architecture, train, held_out, limit, ends):
    whole = [ids_of(train), ids_of(held_out, 1)]
    frame, every, plan = prepare(whole[0], whole[1:], settings_of(architecture, limit), ends=ends)
    for before, after in zip(whole, every, strict=True):
        short = 0
        for i in range(len(after)):
            source, target = after.sources[i], after.targets[i]
            example = frame.example(source, target)
            assert all(len(value) <= limit for value in example.values() if not isinstance(value, int))
            assert source.tolist() == before.sources[i][: len(source)].tolist()
            assert target.tolist() == before.targets[i][: len(target)].tolist()
            short += len(source) < len(before.sources[i]) or len(target) < len(before.targets[i])
        assert after.cut == short
    assert max(frame.full_shape) <= limit
    assert frame.sequence_length(frame.longest_source, frame.max_answer_length) <= limit
    assert frame.max_sequence_length() <= limit
    assert all(max(shape[1:]) <= limit for shape in plan.shapes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(train=PAIRS, ends=st.booleans(), spare=st.integers(0, 3))
def test_what_fits_is_not_cut(architecture, train, ends, spare):
    ids = ids_of(train)
    frame, (same,), _ = prepare(ids, [], settings_of(architecture), ends=ends)
    limit = max(frame.full_shape) + spare
    _, (again,), _ = prepare(ids, [], settings_of(architecture, limit, "refuse"), ends=ends)
    assert again is same is ids
    with pytest.raises(UserError, match=rf"of {len(ids)} training examples are longer than the model's limit"):
        prepare(ids, [], settings_of(architecture, max(frame.full_shape) - 1, "refuse"), ends=ends)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_examples_beyond_the_limit_are_refused_with_their_number(architecture):
    ids = ids_of([(3, 2), (30, 2), (4, 1), (3, 1), (25, 1)])
    with pytest.raises(UserError, match=r"2 of 5 training.*max_length = 20 tokens.*data.too_long=cut"):
        prepare(ids, [], settings_of(architecture, 20, "refuse"), ends=True)
    with pytest.raises(UserError, match=r"2 of 5 held-out.*max_length = 20 tokens"):
        prepare(ids_of([(3, 2)]), [ids], settings_of(architecture, 20, "refuse"), ends=True)


def test_the_length_in_the_refusal_is_that_of_one_example():
    ids = ids_of([(30, 2), (2, 29), (3, 3)])
    for architecture, longest in (("seq2seq", 31), ("decoder_only", 33), ("encoder_only", 61)):
        with pytest.raises(UserError, match=rf"got up to {longest} tokens; expected at most model.max_length = 25"):
            prepare(ids, [], settings_of(architecture, 25, "refuse"), ends=True)


@pytest.mark.parametrize("ends", [True, False])
def test_a_held_out_target_longer_than_the_slots_is_refused_or_cut_for_an_encoder_alone(ends):
    train, held_out = ids_of([(3, 2), (2, 4)]), ids_of([(3, 4), (3, 5), (3, 9)])
    for architecture in ("decoder_only", "seq2seq"):
        frame, (_, same), _ = prepare(train, [held_out], settings_of(architecture, too_long="refuse"), ends=ends)
        assert same is held_out
    with pytest.raises(
        UserError, match=rf"2 of 3 held-out examples.*targets of {4 + ends} tokens, the longest of train"
    ):
        prepare(train, [held_out], settings_of("encoder_only", too_long="refuse"), ends=ends)
    frame, (_, cut), _ = prepare(train, [held_out], settings_of("encoder_only"), ends=ends)
    assert frame.max_answer_length == 4 + ends
    assert cut.targets.lengths.tolist() == [4, 4, 4]
    assert cut.sources.lengths.tolist() == [3, 3, 3]
    assert cut.cut == 2


def test_both_sides_of_a_sequence_keep_half_where_both_are_too_long():
    _, (ids,), _ = prepare(ids_of([(30, 30), (30, 2), (2, 30)]), [], settings_of("decoder_only", 21), ends=True)
    assert ids.sources.lengths.tolist() == [10, 18, 2]
    assert ids.targets.lengths.tolist() == [10, 2, 18]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_examples_that_were_cut_to_learn_are_cut_in_evaluations_and_prompts_too(architecture):
    pairs = [Pair("x" * n, "y" * (n % 4)) for n in range(1, 40)]
    splits = Splits(pairs[:8], pairs, [])
    tokenizers = TokenizerPair.of(Characters("xy"))
    task_settings = TaskSettings(TaskConfig(), architecture, batch_size=4, limit=20, too_long="cut")
    task = build_task(task_settings, splits, tokenizers)
    assert any("of 39 validation examples are cut to the model's limit" in note for note in task.notes)
    for batch in [*task.evaluation_batches(pairs), *task.prompts(pairs)]:
        assert max(value.shape[1] for value in batch.values() if value.ndim == 2) <= 20
    assert sum(batch["example_weights"].sum() for batch in task.prompts(pairs)) == len(pairs)
    assert task.max_sequence_length() <= 20
    reached = next(task.prompts(pairs))
    written = (
        reached["target"].shape[1] - 1 + task.max_answer_length if "target" in reached else reached["source"].shape[1]
    )
    assert written <= 20


def test_where_nothing_is_to_be_cut_prompts_are_whole():
    pairs = [Pair("x" * 15, "y"), Pair("x", "y" * 9)]  # each fits; the longest source with the longest answer does not
    task_settings = TaskSettings(TaskConfig(), "decoder_only", batch_size=2, limit=20, too_long="refuse")
    task = build_task(task_settings, Splits(pairs, pairs, []), TokenizerPair.of(Characters("xy")))
    assert next(task.prompts(pairs))["target_lengths"].tolist() == [16, 2]
    assert task.max_sequence_length() == 25


def test_sources_and_answers_that_generation_cuts_further_are_counted_in_the_notes():
    # Each fits 20; the longest source with the longest answer does not.
    train = [Pair("x" * 15, "y"), Pair("x", "y" * 15)]
    held_out = [Pair("x" * 15, "y"), Pair("x", "y" * 15), Pair("x" * 3, "y" * 3)]
    task_settings = TaskSettings(TaskConfig(), "decoder_only", batch_size=2, limit=20, too_long="cut")
    task = build_task(task_settings, Splits(train, held_out, []), TokenizerPair.of(Characters("xy")))
    assert task.max_answer_length == 10
    assert task.notes == (
        "2 of 3 validation examples are cut further where they are answered: sources to 10 tokens, answers to 10",
    )
    assert next(task.prompts(held_out, 3))["target_lengths"].tolist() == [11, 2, 4]
    assert [b["loss_weights"].sum() for b in task.evaluation_batches(held_out, 3)] == [2 + 16 + 4]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_longer_than_the_datas_is_padded_to_what_the_limit_leaves(architecture):
    pairs = [Pair("x" * 5, "yyy"), Pair("x", "y")]
    task_settings = TaskSettings(TaskConfig(), architecture, batch_size=2, limit=23)
    task = build_task(task_settings, Splits(pairs, pairs, []), TokenizerPair.of(Characters("xy")))
    for length, steps in ((17, None), (18, None), (5, None), (3, 20)):
        batch = next(task.prompts(["x" * length], steps=None if task.fixed_answer_length else steps))
        written = steps or task.max_answer_length
        reached = batch["target"].shape[1] - 1 + written if architecture == "decoder_only" else batch["source"].shape[1]
        assert reached <= 23


def test_fewer_examples_are_evaluated_at_once_where_their_logits_are_large():
    pairs = [Pair("x" * 5, "yyy"), Pair("x", "y")]
    task_settings = TaskSettings(TaskConfig(), "decoder_only", batch_size=2)
    task = build_task(task_settings, Splits(pairs, pairs, []), TokenizerPair.of(Characters("xy")))
    model = transformer.build({"architecture": "decoder_only", "vocab_size": 50_000, "width": 12, "num_heads": 3})
    evaluation = Evaluation(model, task, DecodingConfig())
    assert [evaluation.rows(longest) for longest in (task.max_sequence_length(), 100, 10**9)] == [256, 50, 1]
