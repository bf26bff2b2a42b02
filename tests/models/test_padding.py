import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import core_of, more
from tests.fixtures.tiny import (
    ARCHITECTURES,
    RECURRENT,
    TRANSFORMERS,
    B,
    S,
    T,
    V,
    batch,
    cases,
    frozendict,
    side,
    tiny,
    valid,
)

SETTINGS = [
    {"position": "rotary", "tie_embeddings": False},
    {"position": "learned", "norm_placement": "post", "score": "additive"},
    {"position": "sinusoidal", "kernels": "fast", "window": 3},
]


@functools.cache
def logits_loss_and_slopes(architecture, **settings):
    """Logits, a loss like the cross entropy of the real tokens, and its gradients: one program for all tests."""
    model = tiny(architecture, **settings)

    def loss(params, inputs, real):
        logits = model.model.apply(params, inputs)["logits"]
        log_p = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.where(real[..., None], log_p, 0.0) * jnp.arange(1.0, V + 1) / V), logits

    program = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def run(inputs):
        (value, logits), slopes = program(model.params, inputs, jnp.array(valid(inputs, architecture)))
        return np.asarray(logits), value, slopes

    return run


def changed(inputs, name, token):
    real = np.arange(inputs[name].shape[1]) < np.asarray(inputs[f"{name}_lengths"])[:, None]
    return jnp.where(real, inputs[name], token)


def padded(inputs, more):
    wider = {name: jnp.pad(inputs[name], ((0, 0), (0, more)), constant_values=2) for name in ("source", "target")}
    return {**inputs, **wider}


CORE = [
    ("encoder_only", SETTINGS[1]),
    ("decoder_only", SETTINGS[2]),
    ("seq2seq", SETTINGS[0]),
    ("rnn_seq2seq", RECURRENT[1]),
]


@pytest.mark.parametrize(
    ("architecture", "settings"), core_of(cases(ARCHITECTURES, SETTINGS), lambda case: case in CORE), ids=str
)
def test_padding_content_and_amount_change_no_output_and_no_gradient(architecture, settings):
    inputs, run = batch(), logits_loss_and_slopes(architecture, **settings)
    real = valid(inputs, architecture)
    logits, loss, slopes = run(inputs)
    other = {**inputs, "source": changed(inputs, "source", 19), "target": changed(inputs, "target", 20)}
    assert (np.asarray(other["source"]) != np.asarray(inputs["source"])).any()
    other_logits, other_loss, other_slopes = run(other)
    np.testing.assert_array_equal(other_logits[real], logits[real])
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, other_slopes, slopes)

    wider = padded(inputs, 4)
    name = side(architecture)
    wider_logits, wider_loss, wider_slopes = run(wider)
    np.testing.assert_allclose(wider_logits[:, : inputs[name].shape[1]][real], logits[real], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(wider_loss, loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), wider_slopes, slopes)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [*((name, SETTINGS[0]) for name in TRANSFORMERS), ("rnn_seq2seq", RECURRENT[1])],
    ids=str,
)
def test_tokens_used_as_padding_alone_get_exactly_zero_gradient(architecture, settings):
    inputs = batch()
    real_tokens = {name: jnp.minimum(inputs[name], 18) for name in ("source", "target")}
    inputs = {**inputs, **real_tokens}
    inputs = {**inputs, "source": changed(inputs, "source", 19), "target": changed(inputs, "target", 20)}
    _, _, slopes = logits_loss_and_slopes(architecture, **settings)(inputs)
    for name, slope in slopes.items():
        if name.endswith("embedding"):
            assert not np.asarray(slope["table"][19:21]).any()
            assert np.asarray(slope["table"]).any()


@pytest.mark.parametrize(
    ("architecture", "settings"),
    core_of(
        cases(ARCHITECTURES, [SETTINGS[0], SETTINGS[2]]),
        lambda case: case in CORE or (case[1] == SETTINGS[0] and case[0] != "seq2seq"),
    ),
)
def test_a_length_of_zero_gives_finite_outputs_and_gradients(architecture, settings):
    inputs = {**batch(), "source_lengths": jnp.array([0, S, 2]), "target_lengths": jnp.array([T, 0, 3])}
    logits, loss, slopes = logits_loss_and_slopes(architecture, **settings)(inputs)
    assert np.isfinite(logits).all()
    assert np.isfinite(loss)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("seq2seq", SETTINGS[0]),
        *(("rnn_seq2seq", settings) for settings in (RECURRENT[1], RECURRENT[3])),
    ],
)
def test_the_source_of_an_example_with_length_zero_changes_nothing_and_gets_no_gradient(architecture, settings):
    inputs, run = (
        {**batch(), "source_lengths": jnp.zeros(B, jnp.int32)},
        logits_loss_and_slopes(architecture, **settings),
    )
    other = {**inputs, "source": (inputs["source"] + 1) % V}
    logits, _, slopes = run(inputs)
    np.testing.assert_array_equal(run(other)[0], logits)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves((slopes["encoder"], slopes["source_embedding"])))


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name.endswith("seq2seq")))
def test_examples_of_a_batch_do_not_see_each_other(architecture):
    model, inputs = tiny(architecture, position="rotary", tie_embeddings=False), batch()
    logits = model(inputs)
    for b in range(B):
        alone = model({name: x[b : b + 1] for name, x in inputs.items()})
        np.testing.assert_allclose(alone[0], logits[b], rtol=2e-5, atol=2e-5)


def test_padding_that_segments_of_the_source_alone_name_is_seen_by_nobody():
    model, inputs = tiny("seq2seq", position="rotary"), batch()
    del inputs["source_lengths"]
    segments = jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 0, 1, 0, 0]])
    found = model({**inputs, "source_segments": segments})
    other = {**inputs, "source": jnp.where(segments == 0, 19, inputs["source"]), "source_segments": segments}
    np.testing.assert_array_equal(model(other), found)
    alone = {name: x[2:] for name, x in inputs.items()}
    alone["source"] = alone["source"][:, 2:3]
    np.testing.assert_allclose(found[2:], model(alone), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("reads", ["first", more("last"), more("mean"), more("max")])
def test_a_classifier_does_not_read_padding_that_segments_name(reads):
    model = tiny("encoder_only", position="rotary", class_head=frozendict(classes=3, reads=reads))
    tokens = batch()["source"][:, :3]

    def classes(inputs):
        return np.asarray(model.apply(model.params, inputs)["class_logits"])

    row = jnp.pad(tokens, ((0, 0), (2, 1)), constant_values=7)
    segments = jnp.pad(jnp.ones_like(tokens), ((0, 0), (2, 1)))
    found = classes({"source": row, "source_segments": segments})
    np.testing.assert_allclose(found, classes({"source": tokens}), rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(classes({"source": jnp.where(segments, row, 9), "source_segments": segments}), found)
    assert np.isnan(classes({"source": row, "source_segments": segments.at[0, -1].set(2)})[0]).all()
