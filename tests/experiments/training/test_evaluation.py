"""Claims about answers to texts that come in any length and number: few programs, and the same tokens."""

import math

import numpy as np
import pytest

import transformer
from experiments.data.examples import LABELS, Document, Pair, Splits
from experiments.data.request_sizes import COUNTS, lengths
from experiments.data.tokenizers.characters import Characters
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.tasks.build import build_task
from experiments.tasks.config import TaskConfig
from experiments.tasks.task import TaskSettings
from experiments.training.evaluation import Evaluation
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, randomised
from transformer.decoding import DecodingConfig

LETTERS = "abcdefghijklmnopqrs"
LONGEST = 40
RANDOM = np.random.default_rng(0)
TEXTS = ["".join(RANDOM.choice(list(LETTERS), n)) for n in RANDOM.integers(1, LONGEST, 200)]
PAIRS = [Pair(LETTERS[:1] * LONGEST, "abcd"), Pair("a", "b")]


def evaluation_of(architecture, decoding=None, name="text_to_text", **config):
    """The programs of a tiny model, and its parameters."""
    examples = {
        "language_modelling": [Document(LETTERS * 9)] * 2,
        "classification": [Pair("a" * LONGEST, "x"), Pair("b", "y")],
    }.get(name, PAIRS)
    settings = TaskSettings(TaskConfig(name, **config), architecture, batch_size=2)
    task = build_task(settings, Splits(examples, examples, []), TokenizerPair.of(Characters(LETTERS)))
    sizes = {"vocab_size": task.vocab_size, "width": 12, "num_heads": 3, "num_layers": 1, "max_length": 100}
    heads = {"class_head": {"classes": 2}} if task.kind == LABELS else {}
    recurrent = architecture == "rnn_seq2seq"
    position = {} if recurrent else {"position": "learned"}
    model = transformer.build({"architecture": architecture, **sizes, **heads, **position})
    params = randomised(model.parameter_shapes)
    return Evaluation(model, task, decoding or DecodingConfig(max_new_tokens=None)), params


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name in ("decoder_only", "seq2seq")))
def test_200_texts_one_at_a_time_compile_a_program_for_each_length_and_have_the_tokens_of_one_shape(architecture):
    evaluation, params = evaluation_of(architecture)
    alone = [evaluation.generated(params, [text]) for text in TEXTS]
    assert evaluation._generate._cache_size() == len(lengths(LONGEST + 1)) == math.ceil(math.log2(41 / 16)) + 1 == 3
    together = evaluation.generated(params, TEXTS, one_shape=True)
    assert evaluation._generate._cache_size() == 4
    np.testing.assert_array_equal(np.concatenate([one.tokens for one in alone]), together.tokens)
    np.testing.assert_allclose(np.concatenate([one.scores for one in alone]), together.scores, rtol=1e-4)
    assert len(np.unique(together.scores.round(2))) > 50


@pytest.mark.parametrize("strategy", core_of(["greedy", "beam"], lambda name: name == "greedy"))
def test_texts_in_any_number_compile_a_program_for_each_length_and_number_of_few(strategy):
    evaluation, params = evaluation_of("decoder_only", DecodingConfig(strategy))
    texts = [text[:14] for text in TEXTS]  # of one padded length
    alone = evaluation.generated(params, texts, one_shape=True)
    at, random = 0, np.random.default_rng(1)
    while at < len(texts):
        count = int(random.integers(1, 30))
        some = evaluation.generated(params, texts[at : at + count])
        for name in ("tokens", "lengths"):
            np.testing.assert_array_equal(getattr(some, name), getattr(alone, name)[at : at + count])
        np.testing.assert_allclose(some.scores, alone.scores[at : at + count], rtol=1e-4)
        at += count
    assert evaluation._generate._cache_size() - 1 <= len(COUNTS[:4])


@pytest.mark.parametrize(
    ("name", "architecture", "gap"),
    [
        ("language_modelling", "decoder_only", ""),
        pytest.param("language_modelling", "encoder_only", "<mask>", marks=pytest.mark.more),
        pytest.param("language_modelling", "seq2seq", "<mask>", marks=pytest.mark.more),
    ],
)
def test_a_language_model_has_few_programs_too(name, architecture, gap):
    evaluation, params = evaluation_of(architecture, DecodingConfig(max_new_tokens=30), name, context=60)
    texts = [text[:28] + gap for text in TEXTS[:40]]
    alone = np.concatenate([evaluation.generated(params, [text]).tokens for text in texts])
    assert evaluation._generate._cache_size() <= len(lengths(60)) == 3
    np.testing.assert_array_equal(alone, evaluation.generated(params, texts, one_shape=True).tokens)


def test_a_classifier_has_few_programs_too():
    evaluation, params = evaluation_of("encoder_only", name="classification")
    alone = np.concatenate([evaluation.probabilities(params, [text], one_shape=False) for text in TEXTS[:50]])
    assert evaluation._classify._cache_size() == 3
    together = evaluation.probabilities(params, TEXTS[:50])
    np.testing.assert_allclose(alone, together, rtol=1e-4)
    assert len(np.unique(alone.round(4), axis=0)) > 20


def test_texts_beyond_the_datas_longest_compile_one_program_with_each_doubling():
    evaluation, params = evaluation_of("rnn_seq2seq")
    for length in range(41, 128, 3):
        evaluation.generated(params, ["a" * length])
    assert evaluation._generate._cache_size() == 2


def test_done_counts_every_text_once_and_answers_stand_in_the_order_of_their_texts():
    evaluation, params = evaluation_of("decoder_only")
    counts = []
    backwards = evaluation.generated(params, TEXTS[:20][::-1], done=counts.append)
    assert sum(counts) == 20
    np.testing.assert_array_equal(backwards.tokens[::-1], evaluation.generated(params, TEXTS[:20]).tokens)


def test_what_a_text_draws_depends_on_its_number_alone_and_comes_token_by_token():
    evaluation, params = evaluation_of("decoder_only", DecodingConfig("sampling"))
    texts = ["abc"] * 7 + TEXTS[:4]
    together = evaluation.generated(params, texts).tokens
    assert len(np.unique(together[:7], axis=0)) > 3
    for number in (0, 5, 8):
        alone = evaluation.generated(params, [texts[number]], numbers=[number])
        np.testing.assert_array_equal(alone.tokens[0], together[number])
        streamed = list(evaluation.stream(params, texts[number], number))
        assert streamed == alone.tokens[0, : alone.lengths[0]].tolist()
    np.testing.assert_array_equal(evaluation.generated(params, texts, one_shape=True).tokens, together)
    assert evaluation.streams


def test_a_beam_a_classifier_and_a_text_with_gaps_stream_nothing():
    assert not evaluation_of("decoder_only", DecodingConfig("beam"))[0].streams
    assert not evaluation_of("decoder_only", name="classification")[0].streams
    assert not evaluation_of("encoder_only", name="language_modelling", context=60)[0].streams
