"""Beam search: exhaustive where the width covers all answers, and a function of each example alone."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import randomised
from transformer.decoding import Beam, Generated, Greedy, beam, generate
from transformer.errors import UserError

V, STEPS, END = 5, 4, 0
PROMPTS = {"target": np.array([[1, 2, 3], [2, 0, 0]]), "target_lengths": np.array([3, 1])}
SOURCES = {"source": np.array([[1, 2, 4], [3, 4, 1]]), "source_lengths": np.array([3, 2])}
ARCHITECTURES = ("decoder_only", "seq2seq", "rnn_seq2seq")


def made(architecture, seed=0, **settings):
    """A model whose answers are of all lengths, its parameters, and prompts."""
    heads = {} if architecture == "rnn_seq2seq" else {"num_heads": 2}
    model = transformer.build(dict(architecture=architecture, vocab_size=V, width=8, num_layers=1, **heads, **settings))
    params = jax.tree.map(lambda x: 2 * x, randomised(model.parameter_shapes, seed))
    batch = PROMPTS if architecture == "decoder_only" else {**PROMPTS, **SOURCES}
    return model, params, {name: jnp.asarray(x) for name, x in batch.items()}


def written(model, params, batch, strategy, steps=STEPS, end=END) -> Generated:
    run = jax.jit(lambda params, batch: generate(model, params, batch, steps=steps, end=end, strategy=strategy))
    return jax.tree.map(np.asarray, run(params, batch))


def every_answer(model, params, batch, example):
    """Every answer of at most STEPS tokens, and its log-probability by one full pass."""
    answers = [
        answer
        for n in range(1, STEPS + 1)
        for answer in itertools.product(range(V), repeat=n)
        if END not in answer[:-1] and (answer[-1] == END or n == STEPS)
    ]
    length = int(batch["target_lengths"][example])
    prompt = [int(token) for token in batch["target"][example, :length]]
    rows = np.zeros((len(answers), 3 + STEPS), int)
    for row, answer in zip(rows, answers, strict=True):
        row[: length + len(answer)] = [*prompt, *answer]
    lengths = jnp.array([length + len(answer) for answer in answers])
    inputs = {name: jnp.repeat(x[example : example + 1], len(answers), axis=0) for name, x in batch.items()}
    logits = jax.jit(model.apply)(params, {**inputs, "target": jnp.array(rows), "target_lengths": lengths})["logits"]
    logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
    sums = [sum(logs[i, length - 1 + at, token] for at, token in enumerate(a)) for i, a in enumerate(answers)]
    return answers, np.array(sums)


@pytest.mark.parametrize(
    ("architecture", "penalty", "seed"),
    [
        *(more(name, 0.0, 7) for name in ARCHITECTURES),
        more("seq2seq", 1.0, 7),
        ("decoder_only", 1.0, 7),
        ("rnn_seq2seq", 0.0, 1),
    ],
)
def test_a_beam_as_wide_as_there_are_beginnings_finds_the_best_of_all_answers(architecture, penalty, seed):
    model, params, batch = made(architecture, seed)
    found = written(model, params, batch, Beam(V, penalty, early_stopping="never", num_return=V))
    for example in range(2):
        answers, sums = every_answer(model, params, batch, example)
        scores = sums / np.array([len(answer) for answer in answers]) ** penalty
        best = int(np.argmax(scores))
        tokens, length = found.tokens[example, 0], found.lengths[example, 0]
        assert tuple(tokens[:length]) == answers[best]
        assert (tokens[length:] == 0).all()
        own = dict(zip(answers, sums, strict=True))
        for rank in range(V):  # scores are those of a second, full pass
            answer = tuple(found.tokens[example, rank, : found.lengths[example, rank]])
            np.testing.assert_allclose(found.scores[example, rank], own[answer], atol=1e-4)
        assert len(set(found.lengths[example])) > 1 or (architecture, seed) != ("decoder_only", 7)
    order = found.scores / found.lengths.astype(float) ** penalty
    assert (np.diff(order, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name == "rnn_seq2seq"))
def test_a_beam_of_width_one_is_greedy(architecture):
    model, params, batch = made(architecture, seed=1)
    greedy = written(model, params, batch, Greedy())
    for found in (written(model, params, batch, Beam(1)), written(model, params, batch, Beam(1, early_stopping=True))):
        np.testing.assert_array_equal(found.tokens, greedy.tokens)
        np.testing.assert_array_equal(found.lengths, greedy.lengths)
        np.testing.assert_allclose(found.scores, greedy.scores, atol=1e-5)


def test_several_end_tokens_end_an_answer():
    model, params, batch = made("decoder_only", seed=1)
    found = written(model, params, batch, Beam(3, num_return=3), end=(0, 3))
    for tokens, length in zip(found.tokens.reshape(-1, STEPS), found.lengths.reshape(-1), strict=True):
        is_end = np.isin(tokens[: length - 1], [0, 3])
        assert not is_end.any()
        assert length == STEPS or tokens[length - 1] in (0, 3)


@pytest.mark.parametrize(
    ("architecture", "settings"), [("decoder_only", {"window": 8}), more("decoder_only", {}), more("seq2seq", {})]
)
def test_a_cache_of_half_the_length_for_the_first_half_changes_nothing(architecture, settings, monkeypatch):
    model, params, batch = made(architecture, seed=1, **settings)  # a ring of 8 rows is one of 6 in the first half
    sought = Beam(3, num_return=3)
    whole = written(model, params, batch, sought, steps=7, end=None)
    monkeypatch.setattr(beam, "LONG", 7)
    halves = written(model, params, batch, sought, steps=7, end=None)
    np.testing.assert_array_equal(halves.tokens, whole.tokens)
    np.testing.assert_allclose(halves.scores, whole.scores, rtol=1e-6)


def test_an_example_that_is_an_error_is_nan_and_the_others_have_their_answers():
    model, params, batch = made("decoder_only")
    right = written(model, params, batch, Beam(2))
    found = written(model, params, {**batch, "target": batch["target"].at[1, 0].set(-1)}, Beam(2))
    np.testing.assert_array_equal(found.tokens[0], right.tokens[0])
    assert np.isnan(found.scores[1])
    assert not found.tokens[1].any()
    assert found.lengths[1] == 0


def test_a_source_is_stored_once_for_all_beams():
    model, params, batch = made("seq2seq")
    text = str(jax.make_jaxpr(lambda p, b: generate(model, p, b, steps=2, end=END, strategy=Beam(4)))(params, batch))
    keys_per_beam, keys_per_example = "f32[8,2,3,4]", "f32[2,2,3,4]"  # B K S H
    assert keys_per_example in text
    assert keys_per_beam not in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0}, "width of a beam is out of range; got 0"),
        (
            {"early_stopping": "soon"},
            "early_stopping of a beam is wrong; got 'soon'; expected True, False or \"never\"",
        ),
        ({"width": 2, "num_return": 3}, "num_return of a beam is more than its width; got 3; expected at most 2"),
        ({"length_penalty": float("nan")}, "length_penalty of a beam is out of range; got nan"),
    ],
)
def test_a_wrong_setting_of_a_beam_is_named(settings, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        Beam(**settings)


def test_a_beam_wider_than_the_vocabulary_is_refused():
    model, params, batch = made("decoder_only")
    with pytest.raises(UserError, match=r"a beam is wider than the vocabulary; got 6; expected at most 5"):
        generate(model, params, batch, steps=2, end=END, strategy=Beam(6))
