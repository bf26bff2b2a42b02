import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.examples import Document, Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.data.tokenizers.table import Characters
from experiments.data.tokenizers.tokens import FIRST, SpecialTokens
from experiments.tasks.build import build_task, reopen_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.continuation import Continuation, halves
from experiments.tasks.task import TaskSettings
from transformer.errors import UserError

ARCHITECTURES = ("encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq")
ALPHABET = "".join(chr(0x4E00 + i) for i in range(400))
TOKENIZERS = TokenizerPair.of(Characters(ALPHABET))
LENGTHS = st.lists(st.integers(0, 40), max_size=6)


def documents(lengths):
    """Documents in which every token of the text is another one, so that a token determines its position."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    return [Document(ALPHABET[a:b]) for a, b in itertools.pairwise(offsets)]


TRAIN = documents([17, 30, 1, 4, 0, 26, 9])


def task_of(architecture, train=TRAIN, validation=TRAIN, context=7, config=None, **settings):
    config = TaskConfig("language_modelling", objective="continuation", context=context, **(config or {}))
    task_settings = TaskSettings(config, architecture, batch_size=3, **settings)
    return build_task(task_settings, Splits(list(train), list(validation), []), TOKENIZERS)


def by_hand(text, context):
    """(first, second) halves of one document's tokens."""
    first = context // 2
    if len(text) <= first:
        return [(text[: len(text) // 2], text[len(text) // 2 :])] if len(text) > 1 else []
    found, at = [], first
    while at < len(text):
        found.append((text[at - first : at], text[at : at + context - first]))
        at += context - first
    return found


def rows(ragged):
    return [ragged[i].tolist() for i in range(len(ragged))]


@given(lengths=LENGTHS, context=st.integers(2, 13))
def test_halves_are_those_of_a_slow_loop(lengths, context):
    texts = documents(lengths)
    ids = halves(texts, TOKENIZERS, context)
    expected = [pair for d in texts for pair in by_hand(TOKENIZERS.source.encode(d.text).tolist(), context)]
    assert list(zip(rows(ids.sources), rows(ids.targets), strict=True)) == expected


@given(lengths=LENGTHS, context=st.integers(2, 13))
def test_every_token_but_a_documents_first_ones_is_a_target_once_behind_those_before_it(lengths, context):
    ids = halves(documents(lengths), TOKENIZERS, context)
    offsets = np.cumsum([0, *lengths])
    targets = Counter(token - FIRST for row in rows(ids.targets) for token in row)
    first = [context // 2 if length > context // 2 else length // 2 if length > 1 else length for length in lengths]
    starts = zip(offsets[:-1], offsets[1:], first, strict=True)
    assert targets == Counter(place for start, end, few in starts for place in range(start + few, end))
    for source, target in zip(rows(ids.sources), rows(ids.targets), strict=True):
        whole = [*source, *target]
        assert source
        assert target
        assert len(whole) <= context
        assert whole == list(range(whole[0], whole[0] + len(whole)))
        assert len({int(np.searchsorted(offsets, t - FIRST, "right")) for t in whole}) == 1  # of one document


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_end_token_is_learned(architecture):
    task = task_of(architecture)
    assert task.end is None
    for batch in itertools.islice(task.training_batches(), 9):
        learned = batch["labels"][batch["loss_weights"] > 0]
        assert (learned >= FIRST).all()
        assert SpecialTokens.end not in batch.get("target", ())


def test_every_architecture_learns_the_same_labels_in_an_epoch():
    learned = []
    for architecture in ARCHITECTURES:
        task = task_of(architecture, train=documents([17, 30, 26]))
        epoch = list(itertools.islice(task.training_batches(), task.plan.batches_per_epoch))
        learned.append(sorted(t for b in epoch for t in b["labels"][b["loss_weights"] > 0].tolist()))
        (bits,) = {int(sum(b["loss_weights"].sum() for b in task.evaluation_batches(TRAIN, n))) for n in (2, 5)}
        assert bits == sum(map(len, rows(halves(TRAIN, TOKENIZERS, 7).targets)))
    assert learned[0] == learned[1] == learned[2] == learned[3]
    assert len(learned[0]) > 40


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_are_the_same_for_all_and_no_other_objectives(architecture):
    assert list(task_of(architecture).metrics) == [
        f"continuation_{name}" for name in ("loss", "accuracy", "perplexity", "bits_per_byte")
    ]
    assert isinstance(task_of(architecture), Continuation)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_task_reopened_without_data_asks_and_answers_alike(architecture):
    task = task_of(architecture)
    again = reopen_task(task.settings, TOKENIZERS, task.metadata)
    assert (again.max_sequence_length(), again.max_answer_length, again.metadata) == (
        task.max_sequence_length(),
        task.max_answer_length,
        task.metadata,
    )
    for here, there in zip(task.prompts([ALPHABET[:3]]), again.prompts([ALPHABET[:3]]), strict=True):
        assert all(np.array_equal(here[name], there[name]) for name in here | there)
    assert again.answer("ab", TOKENIZERS.source.encode(ALPHABET[:2])) == "ab" + ALPHABET[:2]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_windows_beyond_the_limit_are_refused_or_cut_with_a_note_in_evaluations_too(architecture):
    if architecture.endswith("seq2seq"):  # each side has half a window
        assert task_of(architecture, limit=7).max_sequence_length() <= 7
        return
    limit = 6 if architecture == "decoder_only" else 7  # the separator is one more
    with pytest.raises(UserError, match=r"task.context|longer than the model's limit"):
        task_of(architecture, limit=limit)
    if architecture == "decoder_only":
        return
    task = task_of(architecture, limit=limit, too_long="cut")
    assert any("are cut to the model's limit" in note for note in task.notes)
    batches = [*task.evaluation_batches(TRAIN), next(task.training_batches())]
    assert max(batch["source"].shape[1] for batch in batches) <= limit
    assert task.max_sequence_length() <= limit


def test_held_out_windows_longer_than_any_answer_of_training_are_refused_or_cut():
    short, long = documents([2, 2, 2]), documents([30])
    assert task_of("seq2seq", short, long).max_answer_length == 1
    with pytest.raises(UserError, match="held-out examples are longer"):
        task_of("encoder_only", short, long)
    task = task_of("encoder_only", short, long, too_long="cut")
    assert sum(batch["loss_weights"].sum() for batch in task.evaluation_batches(long)) == len(by_hand(range(30), 7))


def test_too_little_text_is_a_user_error():
    with pytest.raises(UserError, match="no training examples"):
        task_of("seq2seq", documents([1, 0, 1]))
    with pytest.raises(UserError, match=r"smaller than one batch; got 1 example"):
        task_of("seq2seq", documents([7]))
