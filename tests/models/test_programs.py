import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.nnx import bridge

from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, TRANSFORMERS, V, batch, tiny

CLOSE = {"rtol": 2e-4, "atol": 2e-5}


@functools.cache
def value_and_slopes(architecture, dropout=None, **settings):
    """A loss and its gradients; tests that compare with the same model share its program."""
    model = tiny(architecture, position="rotary", **settings)

    def loss(params, inputs, key):
        logits = model.model.apply(params, inputs, key=key, dropout=dropout)["logits"]
        return jnp.mean(jax.nn.log_softmax(logits) * jnp.arange(1.0, V + 1))

    return jax.jit(jax.value_and_grad(loss))(model.params, batch(), None if dropout is None else jax.random.key(1))


@pytest.mark.parametrize(
    ("architecture", "other"),
    core_of(
        [
            *((architecture, other) for architecture in TRANSFORMERS for other in ({"unroll": True}, {"remat": True})),
            ("rnn_seq2seq", {"unroll": True}),
        ],
        lambda case: case[0] == "decoder_only",
    ),
)
def test_scanned_is_unrolled_is_rematerialised(architecture, other):
    dropout = 0.3 if architecture in ("decoder_only", "rnn_seq2seq") else None
    value, slopes = value_and_slopes(architecture, dropout)
    changed = value_and_slopes(architecture, dropout, **other)
    assert jax.tree.map(jnp.shape, slopes) == jax.tree.map(jnp.shape, changed[1])
    if dropout is not None:
        without = tiny(architecture, position="rotary")(batch())
        assert abs(value - jnp.mean(jax.nn.log_softmax(without) * jnp.arange(1.0, V + 1))) > 1e-3
    compared = zip(jax.tree.leaves((value, slopes)), jax.tree.leaves(changed), strict=True)
    for one, two in compared:
        np.testing.assert_allclose(one, two, **CLOSE)


def test_unrolled_has_no_loop_and_rematerialised_has_less_to_keep():
    def text(**settings):
        model = tiny("decoder_only", position="rotary", **settings).model
        shapes = model.parameter_shapes
        return jax.jit(jax.grad(lambda p: model.apply(p, batch())["logits"].sum())).lower(shapes).as_text()

    assert "stablehlo.while" in text()
    assert "stablehlo.while" not in text(unroll=True)
    remat = jax.make_jaxpr(lambda p: tiny("decoder_only", remat=True).model.apply(p, batch()))
    assert "remat" in str(remat(tiny("decoder_only", remat=True).params))


@pytest.mark.more
@pytest.mark.parametrize("architecture", TRANSFORMERS)
def test_fast_kernels_are_the_plain_ones(architecture):
    one, two = (value_and_slopes(architecture, kernels=kernels) for kernels in ("plain", "fast"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), one, two)


@pytest.mark.parametrize(
    "architecture", core_of(["decoder_only", "seq2seq", "rnn_seq2seq"], lambda name: name != "seq2seq")
)
def test_dropout_of_zero_changes_nothing_and_none_compiles_to_no_random_operation(architecture):
    model, key = tiny(architecture), jax.random.key(1)
    run = jax.jit(lambda rate: model.model.apply(model.params, batch(), key=key, dropout=rate)["logits"])
    np.testing.assert_allclose(run(jnp.array(0.0)), model(batch()), rtol=1e-5, atol=1e-5)
    assert np.abs(run(jnp.array(0.5)) - model(batch())).max() > 0.01

    def program(rate):
        return str(
            jax.make_jaxpr(lambda p: model.model.apply(p, batch(), key=key, dropout=rate)["logits"])(model.params)
        )

    assert "random" not in program(None)
    assert "random" in program(0.0)


def test_the_same_key_drops_the_same_and_each_layer_drops_differently():
    model, inputs, name = tiny("decoder_only", position="rotary", num_layers=3), batch(), "decoder.*.residual"
    # Self-attention adds ones and the feed-forward zeros, so what a layer adds to the stream shows what it dropped.
    added = {"decoder.*.self.output": jnp.ones_like, "decoder.*.feed_forward.output": jnp.zeros_like}

    @jax.jit
    def run(key):
        out = model.model.apply(model.params, inputs, key=key, dropout=0.5, capture=(name,), replace=added)
        return jnp.diff(out["captured"][name], axis=0)

    first = np.asarray(run(jax.random.key(0)))
    np.testing.assert_allclose(np.unique(first.round(3)), [0, 2], atol=1e-3)
    np.testing.assert_array_equal(run(jax.random.key(0)), first)
    for other in (np.asarray(run(jax.random.key(1))), first[::-1]):
        assert 0.3 < np.mean(np.abs(first - other) > 1) < 0.7


def test_self_and_cross_attention_of_one_layer_drop_different_weights():
    model, inputs = tiny("seq2seq", position="rotary"), {"target": batch()["target"], "source": batch()["target"]}
    sites = [f"decoder.*.{sublayer}.{name}" for sublayer in ("self", "cross") for name in ("weights", "value")]
    ones = dict.fromkeys(sites, jnp.ones_like)  # so that a head counts the keys that it was left
    names = ("decoder.*.self.head", "decoder.*.cross.head")

    @jax.jit
    def run(key):
        return model.model.apply(model.params, inputs, key=key, dropout=0.5, capture=names, replace=ones)["captured"]

    own, cross = (np.asarray(run(jax.random.key(0))[name]) for name in names)
    assert np.mean(own != cross) > 0.3


@pytest.mark.parametrize("architecture", core_of(ARCHITECTURES, lambda name: name == "decoder_only"))
def test_the_linen_module_wrapped_for_nnx_gives_the_same_logits(architecture):
    model, inputs = tiny(architecture), batch()
    wrapped = bridge.ToNNX(model.model.module, rngs=nnx.Rngs(0)).lazy_init(inputs)
    state = nnx.state(wrapped, nnx.Param)
    own = jax.tree.map(lambda _, value: value, nnx.to_pure_dict(state), model.params)
    nnx.replace_by_pure_dict(state, own)
    nnx.update(wrapped, state)
    np.testing.assert_allclose(wrapped(inputs)["logits"], model(inputs), rtol=1e-5, atol=1e-5)
