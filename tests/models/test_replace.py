"""Activations that are replaced by a function of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import B, T, batch, tiny
from tests.models.test_capture import all_names
from transformer.errors import UserError
from transformer.nn.intermediates import Recorder, make_request


def test_replacing_an_activation_by_itself_changes_nothing():
    model, inputs = tiny("decoder_only", position="rotary"), batch()
    names = tuple(name for name in all_names("decoder_only"))
    before = model(inputs)
    captured = model.model.apply(model.params, inputs, capture=names)["captured"]
    for layer in range(2):
        values = {name.replace("*", str(layer)): (lambda x, v=v[layer]: v) for name, v in captured.items()}
        out = jax.jit(lambda p, b, values=values: model.model.apply(p, b, replace=values))(model.params, inputs)
        np.testing.assert_allclose(out["logits"], before, rtol=1e-5, atol=1e-5)


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
    recorder = Recorder(make_request(replace={"decoder.0.self.head": lambda x: given}), "decoder", 0, "self.")
    with pytest.raises(
        UserError, match=rf"replacement of self.head is no array; got {got}.*array of shape \(2, 3, 5\)"
    ):
        recorder.record("head", jnp.ones((2, 3, 5)))


@pytest.mark.parametrize(
    ("replace", "says"),
    [
        ({"decoder.1.self.head.2": 0}, "takes functions of the activation; got an int, 0, for .*write jnp.zeros_like"),
        ({"decoder.1.residual": jnp.zeros(3)}, r"functions.*got float32 of shape \(3,\), for 'decoder.1.residual'"),
        ([("decoder.1.residual", jnp.zeros_like)], "replace takes functions by name; got list; expected a dict"),
    ],
)
def test_what_is_no_function_of_an_activation_is_refused(replace, says):
    with pytest.raises(UserError, match=says):
        make_request.__wrapped__(replace=replace)  # not checked
