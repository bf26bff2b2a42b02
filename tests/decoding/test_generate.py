import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import ARCHITECTURES, B, V, batch, tiny
from transformer.decoding import Allowed, Beam, Greedy, NoRepeatNgram, Sampling, generate, matching
from transformer.decoding.generate import _program
from transformer.errors import UserError

STEPS = 5
PROMPTS = np.array([3, 1, 2])


def prompted(architecture, seed=0):
    inputs = batch(seed)
    if architecture == "encoder_only":
        return {"source": inputs["target"], "prefix_lengths": jnp.array([2, 0, 1])}
    target = {"target": inputs["target"][:, :3], "target_lengths": jnp.array(PROMPTS)}
    return target if architecture == "decoder_only" else {**inputs, **target}


def slow(model, inputs, end):
    """One full forward for each token, one example at a time, in NumPy."""
    result = np.zeros((B, STEPS), int)
    for b in range(B):
        one = {name: x[b : b + 1] for name, x in inputs.items()}
        if "prefix_lengths" in one:
            start = int(one.pop("prefix_lengths")[0])
            chosen = model(one)[0, start : start + STEPS].argmax(-1)
            stop = np.flatnonzero(chosen == end)
            chosen = chosen[: stop[0] + 1] if len(stop) else chosen
            result[b, : len(chosen)] = chosen
            continue
        tokens = list(np.asarray(one["target"][0, : int(one["target_lengths"][0])]))
        for i in range(STEPS):
            whole = np.zeros((1, 3 + STEPS), np.int32)
            whole[0, : len(tokens)] = tokens
            full = {**one, "target": jnp.array(whole), "target_lengths": jnp.array([len(tokens)])}
            tokens.append(model(full)[0, len(tokens) - 1].argmax())
            result[b, i] = tokens[-1]
            if tokens[-1] == end:
                break
    return result


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generate_is_a_slow_loop_over_apply(architecture):
    model, inputs = tiny(architecture, position="learned", tie_embeddings=False), prompted(architecture)
    run = jax.jit(lambda p, b, end: generate(model.model, p, b, steps=STEPS, end=end).tokens)
    free = slow(model, inputs, end=-1)
    np.testing.assert_array_equal(run(model.params, inputs, -1), free)
    ends = [int(end) for end in np.unique(free)]
    stopped = [np.asarray(run(model.params, inputs, end)) for end in ends]
    for end, tokens in zip(ends, stopped, strict=True):
        np.testing.assert_array_equal(tokens, ended(free, end))
    assert any((tokens[:, -1] == 0).any() and (tokens[:, -1] != 0).any() for tokens in stopped)
    other = prompted(architecture, seed=1)
    np.testing.assert_array_equal(run(model.params, other, ends[0]), slow(model, other, ends[0]))


def ended(tokens, end):
    """Padding after the first end of each row."""
    result = tokens.copy()
    for row in result:
        row[np.cumsum(row == end) - (row == end) > 0] = 0
    return result


def test_generation_stops_when_every_example_has_ended():
    model, inputs = tiny("decoder_only", position="rotary"), prompted("decoder_only")
    calls = []

    class Scripted(Greedy):
        """The end at once, counting the steps."""

        def choose(self, logits_BV, key=None):
            jax.debug.callback(lambda: calls.append(1))
            return jnp.full(len(logits_BV), 1, jnp.int32)

    settings = {"steps": STEPS, "strategy": Scripted(), "padding": 9}
    run = jax.jit(lambda p, b, end: generate(model.model, p, b, end=end, **settings).tokens)
    tokens = run(model.params, inputs, 1)
    jax.effects_barrier()
    assert len(calls) == 1
    np.testing.assert_array_equal(tokens, [[1] + [9] * (STEPS - 1)] * B)


def test_the_greatest_logit_is_chosen():
    logits = np.random.default_rng(0).normal(size=(B, 11)).astype(np.float32)
    np.testing.assert_array_equal(Greedy().choose(jnp.array(logits)), logits.argmax(-1))


def test_nothing_to_generate_and_missing_prompts_are_errors():
    model = tiny("decoder_only", position="rotary")
    with pytest.raises(UserError, match="1 or more"):
        generate(model.model, model.params, prompted("decoder_only"), steps=0, end=1)
    for strategy in ("greedy", Greedy, None):
        with pytest.raises(UserError, match=r"not a strategy.*Greedy\(\)"):
            generate.__wrapped__(model.model, model.params, {}, steps=1, end=1, strategy=strategy)  # not checked
    with pytest.raises(UserError, match="target_lengths"):
        generate(model.model, model.params, {"target": batch()["target"]}, steps=2, end=1)
    encoder = tiny("encoder_only", position="rotary", tie_embeddings=False)
    with pytest.raises(UserError, match="prefix_lengths"):
        generate(encoder.model, encoder.params, {"source": batch()["source"]}, steps=2, end=1)


@pytest.mark.parametrize(
    ("end", "message"),
    [(-1, r"outside of the vocabulary.*expected 0 to 22"), (23, "or None where"), ("2", "whole"), (1.5, "whole")],
)
def test_an_end_that_is_no_token_is_refused(end, message):
    model = tiny("decoder_only", position="rotary")
    with pytest.raises(UserError, match=message):
        generate.__wrapped__(model.model, model.params, prompted("decoder_only"), steps=2, end=end)  # not checked


@pytest.mark.more
def test_generating_past_the_table_of_learned_positions_is_an_error():
    model = tiny("decoder_only", position="learned", max_length=6)
    generate(model.model, model.params, prompted("decoder_only"), steps=4, end=1)
    with pytest.raises(UserError, match="max_length = 6"):
        generate(model.model, model.params, prompted("decoder_only"), steps=5, end=1)


def test_an_example_whose_logits_are_unknown_has_padding_and_the_others_their_tokens():
    model, inputs = tiny("decoder_only", position="rotary"), prompted("decoder_only")
    run = jax.jit(lambda p, b: generate(model.model, p, b, steps=STEPS, end=None, padding=9).tokens)
    right = np.asarray(run(model.params, inputs))
    found = run(model.params, {**inputs, "target": inputs["target"].at[1, 0].set(-1)})
    np.testing.assert_array_equal(found, np.where(np.arange(B)[:, None] == 1, 9, right))


def test_outside_of_jit_a_program_is_compiled_once_unless_a_function_may_have_changed():
    model = tiny("decoder_only", position="rotary")
    prompt = {name: np.asarray(x) for name, x in prompted("decoder_only").items()}
    texts = [None, None, *"abcdefghijklmnopqrstu"]
    last = []

    def write(*rules):
        return generate(model.model, model.params, prompt, steps=2, end=1, rules=rules).tokens

    first = write(matching("[a-k]+", texts, 1))
    before = _program._cache_size()
    np.testing.assert_array_equal(write(matching("[a-k]+", texts, 1)), first)
    assert _program._cache_size() == before
    for token in (3, 5):
        last.append(write(Allowed(lambda tokens_BL, lengths_B, token=token: jnp.arange(V) == token)))
    assert _program._cache_size() == before
    assert [int(tokens[0, 0]) for tokens in last] == [3, 5]


@pytest.mark.parametrize(
    "strategy", [Greedy(), more(Sampling(2.0)), Beam(3)], ids=lambda strategy: type(strategy).__name__
)
@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES[1:], lambda name: name == "seq2seq"))
def test_scores_are_the_log_probability_by_a_second_full_pass(architecture, strategy):
    model, inputs = tiny(architecture, position="learned"), prompted(architecture)
    run = jax.jit(
        lambda params, inputs, end: generate(
            model.model, params, inputs, steps=STEPS, end=end, strategy=strategy, rules=(NoRepeatNgram(2),), key=3
        )
    )
    end = run(model.params, inputs, -1).tokens[0, 1]
    found = jax.tree.map(np.asarray, run(model.params, inputs, end))
    assert found.lengths.min() < STEPS
    whole = np.zeros((B, 3 + STEPS), int)
    for row, prompt, length, answer in zip(whole, np.asarray(inputs["target"]), PROMPTS, found.tokens, strict=True):
        row[: length + STEPS] = [*prompt[:length], *answer]
    full = model({**inputs, "target": jnp.array(whole), "target_lengths": jnp.array(PROMPTS + found.lengths)})
    logs = jax.nn.log_softmax(full)
    for b in range(B):
        own = [logs[b, PROMPTS[b] - 1 + i, found.tokens[b, i]] for i in range(found.lengths[b])]
        np.testing.assert_allclose(found.scores[b], sum(own), atol=1e-4)


def test_an_answer_that_has_ended_keeps_its_score_whatever_the_padding():
    model, inputs = tiny("decoder_only", position="rotary"), prompted("decoder_only")
    run = jax.jit(lambda p, b, end, padding: generate(model.model, p, b, steps=STEPS, end=end, padding=padding))
    end = run(model.params, inputs, -1, 0).tokens[0, 1]
    one, other = (run(model.params, inputs, end, padding) for padding in (0, -1))  # no token of the vocabulary
    assert one.lengths[0] < STEPS
    np.testing.assert_array_equal(other.lengths, one.lengths)
    np.testing.assert_array_equal(other.scores, one.scores)
    assert np.isfinite(one.scores).all()
