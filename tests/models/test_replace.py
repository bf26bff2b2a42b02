"""Activations that are replaced by a function of them, or by an array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.speeds import more
from tests.fixtures.tiny import B, T, batch, tiny
from tests.models.test_capture import all_names, inputs_of, model_of, whole_names
from transformer.errors import UserError
from transformer.nn.intermediates import make_request
from transformer.nn.recorder import Recorder


def test_replacing_an_activation_by_itself_changes_nothing():
    model, inputs = tiny("decoder_only", position="rotary"), batch()
    names = tuple(name for name in all_names("decoder_only"))
    before = model(inputs)
    captured = model.model.apply(model.params, inputs, capture=names)["captured"]
    for layer in range(2):
        values = {name.replace("*", str(layer)): (lambda x, v=v[layer]: v) for name, v in captured.items()}
        out = jax.jit(lambda p, b, values=values: model.model.apply(p, b, replace=values))(model.params, inputs)
        np.testing.assert_allclose(out["logits"], before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["decoder_only", more("encoder_only"), more("seq2seq"), "rnn_seq2seq"])
def test_what_was_captured_is_what_an_array_puts_back(architecture):
    model, inputs = model_of(architecture), inputs_of(architecture)
    names = (*all_names(architecture), *whole_names(architecture))
    before = model.model.apply(model.params, inputs, capture=names)
    other = {**inputs, **{side: (inputs[side] + 1) % 23 for side in ("source", "target") if side in inputs}}
    after = model.model.apply(model.params, other, capture=names, replace=before["captured"])
    assert np.abs(model(other) - before["logits"]).max() > 0.1
    for name, x in before["captured"].items():
        np.testing.assert_array_equal(after["captured"][name], x, err_msg=name)
    np.testing.assert_array_equal(after["logits"], before["logits"])


def test_arrays_and_functions_of_the_layer_replace():
    model, inputs = tiny("decoder_only", position="rotary"), batch()
    x = np.random.default_rng(0).normal(size=(B, T, 12)).astype(np.float32)
    names = ("decoder.embedding", "decoder.*.self.output", "decoder.*.feed_forward.output", "decoder.*.self.head")
    replace = {
        "decoder.embedding": x,
        "decoder.*.self.output": lambda x, layer: jnp.full_like(x, layer + 1),
        "decoder.*.feed_forward.output": np.stack([x, 2 * x]),
        "decoder.1.self.head.2": x[..., :6],
    }
    found = model.model.apply(model.params, inputs, capture=names, replace=replace)["captured"]
    np.testing.assert_array_equal(found["decoder.embedding"], x)
    np.testing.assert_array_equal(found["decoder.*.self.output"][:, 0, 0, 0], [1, 2])
    np.testing.assert_array_equal(found["decoder.*.feed_forward.output"], [x, 2 * x])
    np.testing.assert_array_equal(found["decoder.*.self.head"][1, :, :, 2], x[..., :6])
    assert np.abs(found["decoder.*.self.head"][0, :, :, 2] - x[..., :6]).max() > 0.1


def test_replacing_one_head_changes_only_what_depends_on_it():
    model, inputs = tiny("decoder_only", position="rotary", num_layers=5, num_heads=6), batch()
    names = ("decoder.*.self.head", "decoder.*.self.output", "decoder.*.residual")

    def run(replace):
        apply = jax.jit(lambda params: model.model.apply(params, inputs, capture=names, replace=replace)["captured"])
        return apply(model.params)

    before, after = run({}), run({"decoder.3.self.head.5": lambda x: x * 0 + 7})
    heads = (np.asarray(before[names[0]]) == np.asarray(after[names[0]])).all(axis=(1, 2, 4))
    assert heads[:3].all()
    assert heads[3].tolist() == [True] * 5 + [False]
    assert not heads[4].any()
    assert (np.asarray(after[names[0]])[3, :, :, 5] == 7).all()
    for name in names[1:]:
        layers = [np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True)]
        assert layers == [True, True, True, False, False]


def test_replacing_weights_steers_what_is_mixed():
    model, inputs = tiny("seq2seq"), batch()

    def first(weights):
        return jnp.zeros_like(weights).at[..., 0].set(1.0)

    names = ("decoder.*.cross.head", "decoder.*.cross.value")
    captured = model.model.apply(model.params, inputs, capture=names, replace={"decoder.*.cross.weights": first})
    head, value = (np.asarray(captured["captured"][name]) for name in names)
    for n in range(4):
        expected = np.broadcast_to(value[:, :, :1, n // 2], (2, B, T, 6))
        np.testing.assert_allclose(head[:, :, :, n], expected, rtol=1e-5, atol=1e-6)


def test_a_replacement_of_another_shape_is_refused():
    model = tiny("decoder_only", position="rotary")
    with pytest.raises(UserError, match="another shape"):
        model.model.apply(model.params, batch(), replace={"decoder.0.residual": lambda x: x[:, :1]})


@pytest.mark.parametrize(
    ("given", "got"), [(None, "None"), ("zeros", "a str, 'zeros'"), ([[1.0], [2.0, 3.0]], "a list")]
)
def test_a_replacement_that_is_no_array_is_refused(given, got):
    recorder = Recorder(make_request(replace={"decoder.0.self.head": lambda x: given}), "decoder", 0, prefix="self.")
    with pytest.raises(UserError, match=rf"of 'decoder.0.self.head' is no array; got {got}.*of shape \(2, 3, 5\)"):
        recorder.record("head", jnp.ones((2, 3, 5)))


@pytest.mark.parametrize(
    ("replace", "says"),
    [
        ({"decoder.1.self.head.2": 0}, "takes functions and arrays; got an int, 0, for .*write jnp.zeros_like"),
        ([("decoder.1.residual", jnp.zeros_like)], "functions and arrays by name; got list; expected a dict"),
        (
            {"decoder.1.residual": lambda x, layer, head: x},
            r"takes other arguments; got \(x, layer, head\); .*, layer\)",
        ),
        (
            {"decoder.logits": lambda x, layer: x},
            "'decoder.logits' is of a whole stack and has no layer; got a function",
        ),
    ],
)
def test_what_is_no_function_of_an_activation_is_refused(replace, says):
    with pytest.raises(UserError, match=says):
        make_request.__wrapped__(replace=replace)  # not checked


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        (
            "decoder.1.residual",
            np.zeros(3),
            r"'decoder.1.residual' has another shape; got float.*\(3,\); .*B T D = \(3, 7",
        ),
        ("decoder.*.residual", np.zeros((3, B, T, 12)), r"another layer axis \(L\); got 3 in shape .*; expected 2"),
        ("decoder.1.residual", np.zeros((2, B, T, 12)), r"another layer axis \(L\); got 2 in shape .*; expected 1"),
        (
            "decoder.logits",
            np.zeros((1, B, T, 23)),
            r"'decoder.logits' has another shape; .*expected B T V = \(3, 7, 23\)",
        ),
        ("encoder.logits", np.zeros(3), "this model has no encoder"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(name, array, says):
    model = tiny("decoder_only", position="rotary").model
    with pytest.raises(UserError, match=says):
        jax.eval_shape(lambda params: model.apply(params, batch(), replace={name: array}), model.parameter_shapes)
