import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import Pair, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Characters, SpecialTokens
from experiments.tasks.build import build_task
from experiments.tasks.collating import collate
from experiments.tasks.config import TaskConfig
from experiments.tasks.framing import FRAMES, frame_for
from experiments.tasks.task import TaskSettings
from transformer.errors import UserError

ARCHITECTURES = sorted(FRAMES)
SLOTS = 7


def ids_up_to(size):
    return st.lists(st.integers(6, 40), max_size=size).map(lambda ids: np.array(ids, np.int32))


SOURCES, TARGETS = ids_up_to(2 * SLOTS), ids_up_to(SLOTS - 1)
BEGIN, END, SEPARATOR, MASK = (
    SpecialTokens.begin,
    SpecialTokens.end,
    SpecialTokens.separator,
    SpecialTokens.mask,
)
PAIRS = [Pair("x" * (3 * i % 11 + 1), "yz"[: i % 3], "xx") for i in range(23)]


def frame(architecture, slots=SLOTS, **config):
    return frame_for(architecture, slots, **config)


def task_of(architecture, train=PAIRS, validation=PAIRS[:5], test=(), batch_size=4, num_buckets=2, **config):
    splits = Splits(list(train), list(validation), list(test))
    tokenizer = Characters.fit(text for p in splits.train for text in (p.source, p.target))
    task_settings = TaskSettings(TaskConfig(**config), architecture, batch_size=batch_size, num_buckets=num_buckets)
    return build_task(task_settings, splits, TokenizerPair.of(tokenizer))


def lists(example):
    return {key: value if isinstance(value, int) else value.tolist() for key, value in example.items()}


def test_frames_are_the_ones_of_the_docstring():
    x, y = np.array([11, 12, 13], np.int32), np.array([21, 22], np.int32)
    assert lists(frame("seq2seq").example(x, y)) == {
        "source": [11, 12, 13, END],
        "target": [BEGIN, 21, 22],
        "labels": [21, 22, END],
        "loss_weights": [1, 1, 1],
        "source_lengths": 4,
        "target_lengths": 3,
    }
    assert lists(frame("decoder_only").example(x, y)) == {
        "target": [11, 12, 13, SEPARATOR, 21, 22],
        "labels": [12, 13, SEPARATOR, 21, 22, END],
        "loss_weights": [0, 0, 0, 1, 1, 1],
        "target_lengths": 6,
    }
    assert lists(frame("encoder_only", 4).example(x, y)) == {
        "source": [11, 12, 13, SEPARATOR, MASK, MASK, MASK, MASK],
        "labels": [0, 0, 0, 0, 21, 22, END, 0],
        "loss_weights": [0, 0, 0, 0, 1, 1, 1, 0],
        "source_lengths": 8,
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(source=SOURCES, target=TARGETS)
def test_loss_is_on_the_target_and_its_end_whatever_the_architecture(architecture, source, target):
    example = frame(architecture).example(source, target)
    learned = example["labels"][example["loss_weights"] > 0]
    assert learned.tolist() == [*target, END]
    assert set(example["loss_weights"].tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(source=SOURCES, target=TARGETS)
def test_padding_is_never_a_label_with_weight(architecture, source, target):
    batch = collate([frame(architecture).example(source, target)] * 2, 31)
    assert (batch["labels"][batch["loss_weights"] > 0] != SpecialTokens.padding).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(source=SOURCES, target=TARGETS)
def test_lengths_are_known_without_framing(architecture, source, target):
    layout = frame(architecture)
    example = layout.example(source, target)
    (lengths,) = layout.lengths(np.array([len(source)]), np.array([len(target)]))
    for (axis, keys), length in zip(layout.axes.items(), lengths, strict=True):
        assert {len(example[key]) for key in keys} == {length} == {example[f"{axis}_lengths"]}
    assert max(lengths) <= layout.sequence_length(len(source), SLOTS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(source=SOURCES, target=TARGETS)
def test_prompt_is_what_the_example_starts_with_and_holds_nothing_of_the_target(architecture, source, target):
    layout = frame(architecture)
    example, prompt = layout.example(source, target), layout.prompt(source)
    for axis in layout.axes:
        start = prompt[axis]
        assert len(start) == prompt[f"{axis}_lengths"]
        assert example[axis][: len(start)].tolist() == start.tolist()
    assert not {"labels", "loss_weights"} & set(prompt)


@given(source=SOURCES, target=TARGETS)
def test_prefix_of_a_decoder_ends_before_the_target(source, target):
    layout = frame("decoder_only", bidirectional_prefix=True)
    for framed in (layout.example(source, target), layout.prompt(source)):
        seen = framed["target"][: framed["prefix_lengths"]]
        assert seen.tolist() == [*source, SEPARATOR]
    assert "prefix_lengths" not in frame("decoder_only").example(source, target)


@given(source=SOURCES, first=TARGETS, second=TARGETS)
def test_number_of_slots_does_not_depend_on_the_targets_length(source, first, second):
    layout = frame("encoder_only")
    np.testing.assert_array_equal(layout.example(source, first)["source"], layout.example(source, second)["source"])


@given(sources=st.lists(SOURCES, min_size=1, max_size=4))
def test_slots_begin_where_the_prefix_of_a_prompt_ends(sources):
    batch = collate([frame("encoder_only").prompt(source) for source in sources], 29)
    at = batch["prefix_lengths"][:, None] + np.arange(SLOTS)
    assert (np.take_along_axis(batch["source"], at, axis=1) == MASK).all()
    assert (batch["source"] == MASK).sum() == at.size


def test_target_longer_than_the_slots_is_a_user_error():
    ids = np.arange(6, 10, dtype=np.int32)
    frame("encoder_only", 5).example(ids, ids)
    with pytest.raises(UserError, match="5 tokens, its end token included; expected at most 4"):
        frame("encoder_only", 4).example(ids, ids)
    with pytest.raises(UserError, match=r"1 of 1 held-out examples are longer.*targets of 3 tokens"):
        task_of("encoder_only", validation=[Pair("x", "yzy", "xx")])


@pytest.mark.parametrize("architecture", ["encoder_only", "seq2seq", "rnn_seq2seq"])
def test_prefix_that_is_not_read_is_a_user_error(architecture):
    with pytest.raises(UserError, match="bidirectional_prefix is not read"):
        frame(architecture, bidirectional_prefix=True)


def test_unknown_architecture_is_a_user_error():
    with pytest.raises(UserError, match="Did you mean 'seq2seq'"):
        frame("seq2sec")


def test_collate_pads_at_the_end_with_zeros_and_keeps_types():
    x, y = np.array([11, 12, 13], np.int32), np.array([21], np.int32)
    layout = frame("seq2seq")
    batch = collate(
        [layout.example(x, y), layout.example(y, x)], dict.fromkeys(layout.axes["target"], 5) | {"source": 6}
    )
    assert batch["source"].tolist() == [[11, 12, 13, END, 0, 0], [21, END, 0, 0, 0, 0]]
    assert batch["loss_weights"].tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]
    assert batch["source_lengths"].tolist() == [4, 2]
    assert {key: value.dtype.name for key, value in batch.items()} == {
        key: "float32" if key == "loss_weights" else "int32" for key in batch
    }


def test_collate_never_cuts_an_example():
    with pytest.raises(UserError, match="source is longer than its bucket"):
        collate([frame("encoder_only", 3).prompt(np.arange(6, 10, dtype=np.int32))], 7)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_batches_have_as_many_shapes_as_programs_and_fit_the_longest(architecture):
    task = task_of(architecture)
    batches = list(itertools.islice(task.training_batches(), 2 * task.plan.batches_per_epoch))
    shapes = {tuple(sorted((key, value.shape) for key, value in batch.items())) for batch in batches}
    assert len(shapes) == task.num_programs == 2
    arrays = [value for batch in batches for value in batch.values()]
    assert all(len(value) == 4 for value in arrays)
    assert max(value.shape[1] for value in arrays if value.ndim == 2) <= task.max_sequence_length()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_batches_from_a_step_are_those_of_the_whole_run(architecture):
    task = task_of(architecture)
    whole = list(itertools.islice(task.training_batches(), 12))
    for here, there in zip(itertools.islice(task.training_batches(7), 5), whole[7:], strict=True):
        assert set(here) == set(there)
        assert all(np.array_equal(here[key], there[key]) for key in here)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_evaluation_weighs_each_example_once_in_one_shape(architecture):
    task = task_of(architecture)
    batches = list(task.evaluation_batches(PAIRS))
    assert len({batch["labels"].shape for batch in batches}) == 1
    assert sum(batch["example_weights"].sum() for batch in batches) == len(PAIRS)
    assert sum(batch["loss_weights"].sum() for batch in batches) == sum(len(p.target) + 1 for p in PAIRS)
    assert list(task.evaluation_batches([])) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompts_of_all_sizes_of_source_have_one_shape(architecture):
    task = task_of(architecture)
    shapes = [
        {key: value.shape for key, value in next(task.prompts([text], 3)).items()} for text in ("x", "x" * 11, PAIRS[0])
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    longer = next(task.prompts(["x" * 12]))
    key = "target" if architecture == "decoder_only" else "source"
    assert longer[f"{key}_lengths"][0] <= longer[key].shape[1]
    assert len(longer[key]) == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_longest_covers_evaluation_and_the_longest_source_with_the_longest_answer(architecture):
    long_source = Pair("x" * 30, "y", "xx")
    task = task_of(architecture, validation=[*PAIRS, long_source])
    expected = {"decoder_only": 30 + 3, "encoder_only": 31 + 3}  # the longest answer: y z <end>
    assert task.max_sequence_length() == expected.get(architecture, 31)
    for batch in task.evaluation_batches(task.splits.validation):
        assert batch["labels"].shape[1] <= task.max_sequence_length()


def test_match_needs_every_token_and_the_end_right_after():
    task = task_of("seq2seq")
    y, z = (int(i) for i in task.tokenizers.source.encode("yz"))
    predicted = np.array(
        [[y, z, END, z], [y, z, z, END], [z, z, END, 0], [y, END, z, END], [END, y, z, END], [y, z, 0, 0]]
    )
    assert task.exact_match(predicted, ["yz"] * 6).tolist() == [True, False, False, False, False, False]
    assert task.exact_match(predicted, ["", "yz", "", "y", "", ""]).tolist() == [False, False, False, True, True, False]


def test_answer_cut_before_its_end_is_no_match():
    task = task_of("seq2seq")
    assert task.exact_match(task.tokenizers.source.encode("yz")[None], ["yz"]).tolist() == [False]


def test_target_that_cannot_be_written_is_no_match():
    task = task_of("seq2seq")
    predicted = np.array([[SpecialTokens.unknown, END]])
    assert task.exact_match(predicted, ["?"]).tolist() == [False]


def test_decode_stops_at_the_end_token():
    task = task_of("seq2seq")
    ids = task.tokenizers.source.encode("yzx")
    assert task.decode(np.array([ids[0], ids[1], END, ids[2]])) == "yz"
    assert task.decode(ids) == "yzx"


def test_no_training_examples_is_a_user_error():
    with pytest.raises(UserError, match="no training examples"):
        task_of("seq2seq", train=[])
