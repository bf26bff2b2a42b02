import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from transformer.errors import UserError
from transformer.models.config import ClassHeadConfig, model_config
from transformer.nn.heads import POOLING, ClassHead
from transformer.nn.module_rows import STRUCTURES

B, T, D, C = 5, 7, 6, 3
LENGTHS = np.array([T, 1, 3, 0, 5])


def hidden(seed=0):
    return np.random.default_rng(seed).normal(size=(B, T, D)).astype(np.float32)


def reference(name, h, length):
    """One example in NumPy, float64."""
    h = h.astype(np.float64)
    if name == "mean":
        return h[:length].sum(axis=0) / max(length, 1)
    if name == "max":
        return h[:length].max(axis=0) if length else np.zeros(D)
    return h[0] if name == "first" else h[max(length - 1, 0)]


@pytest.mark.parametrize("name", POOLING)
def test_reads_are_those_of_numpy_and_a_length_of_zero_is_defined(name):
    read = np.asarray(POOLING[name](jnp.array(hidden()), jnp.array(LENGTHS)))
    for b, length in enumerate(LENGTHS):
        np.testing.assert_allclose(read[b], reference(name, hidden()[b], length), rtol=1e-6, atol=1e-7)
    nothing = read[LENGTHS == 0][0]
    np.testing.assert_array_equal(nothing, np.zeros(D) if name in ("mean", "max") else hidden()[3, 0])


@pytest.mark.parametrize("name", POOLING)
def test_padding_gets_no_gradient_and_may_hold_anything(name):
    weigh = jnp.array(np.random.default_rng(1).normal(size=(B, D)), jnp.float32)

    def weighted(hidden_BTD):
        return jnp.sum(POOLING[name](hidden_BTD, jnp.array(LENGTHS)) * weigh)

    padding = np.arange(T) >= np.maximum(LENGTHS, 0 if name in ("mean", "max") else 1)[:, None]
    gradient = np.asarray(jax.grad(weighted)(jnp.array(hidden())))
    assert (gradient[padding] == 0).all()
    seen = {"first": np.arange(T)[None] == 0, "last": np.arange(T) == np.maximum(LENGTHS - 1, 0)[:, None]}
    if name == "max":
        np.testing.assert_array_equal((gradient != 0).sum(axis=1), np.repeat((LENGTHS > 0)[:, None], D, axis=1))
    else:
        assert (gradient[np.broadcast_to(seen.get(name, ~padding), (B, T))] != 0).all()
    spoilt = np.where(padding[..., None], np.nan, hidden())
    np.testing.assert_array_equal(weighted(jnp.array(spoilt)), weighted(jnp.array(hidden())))


def test_mean_of_half_precision_is_summed_in_float32():
    many = jnp.full((1, 3000, D), 0.1, jnp.bfloat16)
    read = POOLING["mean"](many, jnp.array([3000]))
    assert read.dtype == jnp.bfloat16
    np.testing.assert_array_equal(read, many[:, 0])


@pytest.mark.parametrize("name", POOLING)
def test_head_is_a_product_and_a_bias_and_without_lengths_reads_all(name):
    class_head = {"classes": C, "reads": name}
    sizes = {"vocab_size": 11, "width": D, "num_heads": 2}
    config = model_config({"architecture": "encoder_only", **sizes, "class_head": class_head})
    head, rng = ClassHead(config), np.random.default_rng(2)
    params = {"kernel": rng.normal(size=(D, C)), "bias": rng.normal(size=C)}
    params = {name: jnp.array(value, jnp.float32) for name, value in params.items()}
    for lengths in (LENGTHS, None):
        said = head.apply({"params": params}, jnp.array(hidden()), None if lengths is None else jnp.array(lengths))
        rows = np.stack(
            [reference(name, h, n) for h, n in zip(hidden(), [T] * B if lengths is None else lengths, strict=True)]
        )
        np.testing.assert_allclose(said, rows @ params["kernel"] + params["bias"], rtol=1e-5, atol=1e-5)
        assert said.dtype == jnp.float32
    fresh = head.init(jax.random.key(0), jnp.array(hidden()), None)["params"]
    assert {key: value.shape for key, value in fresh.items()} == {"kernel": (D, C), "bias": (C,)}


def test_what_is_read_is_the_state_that_has_seen_everything_unless_a_setting_says_otherwise():
    for architecture, read in {**dict.fromkeys(STRUCTURES, "last"), "encoder_only": "first"}.items():
        assert ClassHeadConfig(classes=2).resolved(architecture).reads == read
        assert ClassHeadConfig(classes=2, reads="mean").resolved(architecture).reads == "mean"
    assert ClassHeadConfig().resolved("seq2seq").reads is None
    with pytest.raises(UserError, match="reads"):
        model_config({"class_head": {"classes": 2, "reads": "middle"}})


def test_a_model_without_a_head_returns_hidden_states_alone():
    model = transformer.build(architecture="encoder_only", vocab_size=11, width=D, num_heads=2, token_head=NO_HEAD)
    source = {"source": np.ones((2, 5), int)}
    assert list(jax.eval_shape(model.apply, model.parameter_shapes, source)) == ["hidden"]
    assert not [name for name in model.sites(source) if name.endswith("logits")]
    for call in (
        lambda: model.unembed(model.init(0), jnp.ones((2, D))),
        lambda: model.start(model.init(0), source | {"prefix_lengths": np.ones(2, int)}, steps=1),
    ):
        with pytest.raises(UserError, match=r"a model without a head writes no tokens; got model.token_head.present f"):
            call()


NO_HEAD = {"present": False}
REFUSED = {
    "a bias of no head": ({"token_head": NO_HEAD | {"bias": True}}, "token_head.bias is not read .*present False"),
    "a head of tokens beside classes": (
        {"class_head": {"classes": 3}, "token_head": {"bias": True}},
        "bias is not read",
    ),
    "no first norm of a bare embedding": ({"embedding": {"first_norm": False}}, "first_norm is not read .*norm False"),
    "no first norm where there is none": (
        {"norm_placement": "post", "embedding": {"norm": True, "first_norm": False}},
        "no norm before it that could be left out; got model.norm_placement post",
    ),
    "another map": ({"token_head": {"transform": "relu"}}, "value of model.token_head.transform; got 'relu'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_settings_of_heads_that_contradict_are_refused(what):
    settings, error = REFUSED[what]
    with pytest.raises(UserError, match=error):
        transformer.build({"architecture": "encoder_only", "vocab_size": 11, "width": D, "num_heads": 2, **settings})


def test_the_window_of_an_encoder_is_its_own():
    settings = {"architecture": "seq2seq", "vocab_size": 11, "width": D, "num_heads": 2, "num_layers": 1}
    batch = {"source": np.arange(1, 8)[None] % 11, "target": np.arange(2, 9)[None] % 11}
    windows = {"encoder_window": 2, "window": 3}
    model = transformer.build(settings | windows)
    names = ("encoder.*.self.weights", "decoder.*.self.weights")
    captured = model.apply(model.init(0), batch, capture=names)["captured"]
    distance = np.abs(np.arange(7)[:, None] - np.arange(7)[None])
    np.testing.assert_array_equal(captured[names[0]][0, 0, 0] > 0, distance < 2)
    np.testing.assert_array_equal(captured[names[1]][0, 0, 0] > 0, np.tril(distance < 3))
    assert transformer.build(settings | {"window": (3,), "encoder_window": (2,)}).config.encoder_window == (2,)
    with pytest.raises(UserError, match=r"encoder_window of 2 for 1 layer"):
        transformer.build(settings | {"encoder_window": (2, 3)})
