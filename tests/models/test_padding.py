import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, B, S, T, V, batch, cases, side, tiny, valid

SETTINGS = [
    {"position": "rotary", "tie_embeddings": False},
    {"position": "learned", "norm_placement": "post", "score": "additive"},
    {"position": "sinusoidal", "kernels": "fast", "window": 3},
]


def loss_and_slopes(model, architecture):
    """Cross entropy-like loss on the real tokens, with its gradients."""

    def loss(params, inputs, real):
        logits = jax.nn.log_softmax(model.model.apply(params, inputs)["logits"])
        return -jnp.sum(jnp.where(real[..., None], logits, 0.0) * jnp.arange(1.0, V + 1) / V)

    run = jax.jit(jax.value_and_grad(loss))
    return lambda inputs: run(model.params, inputs, jnp.array(valid(inputs, architecture)))


def changed(inputs, name, token):
    real = np.arange(inputs[name].shape[1]) < np.asarray(inputs[f"{name}_lengths"])[:, None]
    return jnp.where(real, inputs[name], token)


def padded(inputs, more):
    wider = {name: jnp.pad(inputs[name], ((0, 0), (0, more)), constant_values=2) for name in ("source", "target")}
    return {**inputs, **wider}


@pytest.mark.parametrize(("architecture", "settings"), cases(ARCHITECTURES, SETTINGS), ids=str)
def test_padding_content_and_amount_change_no_output_and_no_gradient(architecture, settings):
    model, inputs = tiny(architecture, **settings), batch()
    real = valid(inputs, architecture)
    logits, run = model(inputs), loss_and_slopes(model, architecture)
    loss, slopes = run(inputs)
    other = {**inputs, "source": changed(inputs, "source", 19), "target": changed(inputs, "target", 20)}
    assert (np.asarray(other["source"]) != np.asarray(inputs["source"])).any()
    np.testing.assert_array_equal(model(other)[real], logits[real])
    other_loss, other_slopes = run(other)
    assert loss == other_loss
    jax.tree.map(np.testing.assert_array_equal, other_slopes, slopes)

    wider = padded(inputs, 4)
    name = side(architecture)
    np.testing.assert_allclose(model(wider)[:, : inputs[name].shape[1]][real], logits[real], rtol=2e-5, atol=2e-5)
    wider_loss, wider_slopes = run(wider)
    np.testing.assert_allclose(wider_loss, loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), wider_slopes, slopes)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tokens_used_as_padding_alone_get_exactly_zero_gradient(architecture):
    model, inputs = tiny(architecture, position="rotary", tie_embeddings=False), batch()
    real_tokens = {name: jnp.minimum(inputs[name], 18) for name in ("source", "target")}
    inputs = {**inputs, **real_tokens}
    inputs = {**inputs, "source": changed(inputs, "source", 19), "target": changed(inputs, "target", 20)}
    _, slopes = loss_and_slopes(model, architecture)(inputs)
    for name, slope in slopes.items():
        if name.endswith("embedding"):
            assert not np.asarray(slope["table"][19:21]).any()
            assert np.asarray(slope["table"]).any()


@pytest.mark.parametrize(
    ("architecture", "settings"), cases(ARCHITECTURES, [{"position": "rotary", "tie_embeddings": False}, SETTINGS[2]])
)
def test_a_length_of_zero_gives_finite_outputs_and_gradients(architecture, settings):
    model = tiny(architecture, **settings)
    inputs = {**batch(), "source_lengths": jnp.array([0, S, 2]), "target_lengths": jnp.array([T, 0, 3])}
    assert np.isfinite(model(inputs)).all()
    loss, slopes = loss_and_slopes(model, architecture)(inputs)
    assert np.isfinite(loss)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slopes))


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("seq2seq", {"position": "rotary", "tie_embeddings": False}),
        *(("rnn_seq2seq", settings) for settings in (RECURRENT[1], RECURRENT[3])),
    ],
)
def test_the_source_of_an_example_with_length_zero_changes_nothing_and_gets_no_gradient(architecture, settings):
    model = tiny(architecture, **settings)
    inputs = {**batch(), "source_lengths": jnp.zeros(B, jnp.int32)}
    other = {**inputs, "source": (inputs["source"] + 1) % V}
    np.testing.assert_array_equal(model(other), model(inputs))
    _, slopes = loss_and_slopes(model, architecture)(inputs)
    assert not any(np.asarray(x).any() for x in jax.tree.leaves((slopes["encoder"], slopes["source_embedding"])))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_examples_of_a_batch_do_not_see_each_other(architecture):
    model, inputs = tiny(architecture, position="rotary", tie_embeddings=False), batch()
    logits = model(inputs)
    for b in range(B):
        alone = model({name: x[b : b + 1] for name, x in inputs.items()})
        np.testing.assert_allclose(alone[0], logits[b], rtol=2e-5, atol=2e-5)
