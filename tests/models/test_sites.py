"""Activations are listed, and the embedding and the head of a model are functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.tiny import ARCHITECTURES, B, T, V, batch, frozendict, tiny
from transformer.errors import UserError
from transformer.ops.kernels import WAYS


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_embed_and_unembed_are_the_ends_of_the_model(architecture):
    model, inputs = tiny(architecture), batch()
    both = "seq2seq" in architecture
    ends = {"encoder_only": ["source"], "decoder_only": ["target"]}.get(architecture, ["source", "target"])
    names = [f"{'encoder' if side == 'source' else 'decoder'}.embedding" for side in ends]
    out = jax.jit(lambda p: model.model.apply(p, inputs, capture=tuple(names)))(model.params)
    for side, name in zip(ends, names, strict=True):
        found = model.model.embed(model.params, inputs[side], **({"side": side} if both else {}))
        np.testing.assert_allclose(found, out["captured"][name], rtol=1e-5, atol=1e-6)
    logits = model.model.unembed(model.params, out["hidden"])
    np.testing.assert_allclose(logits, out["logits"], rtol=1e-5, atol=1e-5)
    assert model.model.unembed(model.params, out["hidden"][0, 0]).shape == (V,)


def test_sites_have_the_letters_of_the_legend_and_compute_nothing():
    model = tiny("seq2seq", position="rotary").model
    described = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch().items()}
    found = model.sites(described)
    assert found == model.sites(batch())
    assert found["decoder.*.cross.weights"][:2] == ("L B N T S", (2, B, 4, T, 5))
    assert found["encoder.*.residual"][:2] == ("L B S D", (2, B, 5, 12))
    assert found["decoder.logits"][:2] == ("B T V", (B, T, V))


def test_sites_of_variants_are_those_that_they_have():
    classifier = tiny("encoder_only", class_head=frozendict(classes=3)).model.sites(batch())
    assert classifier["encoder.logits"][:2] == ("B C", (B, 3))
    assert "encoder.final_norm" not in tiny("encoder_only", norm_placement="post").model.sites(batch())
    weights = "decoder.*.self.weights"
    assert [weights in tiny("decoder_only", kernels=x).model.sites(batch()) for x in WAYS] == [True, True, False]
    maps = tiny("decoder_only", attention=frozendict(differential=True)).model.sites(batch())
    assert maps["decoder.*.self.scores"][:2] == ("L B 2N T S", (2, B, 8, T, T))


MISTAKES = {
    "a token outside": (
        lambda m, p: m.embed(p, np.array([[V]])),
        r"tokens.*an id outside of its table; got 23 .* 0 to 22",
    ),
    "tokens of one axis": (lambda m, p: m.embed(p, jnp.ones(3, int)), "tokens has 1 axis.*expected axes B T"),
    "tokens of floats": (lambda m, p: m.embed(p, jnp.ones((2, 3))), "tokens does not hold whole numbers"),
    "another side": (
        lambda m, p: m.embed(p, np.array([[1]]), side="source"),
        "unknown side .*got 'source'; expected one of target",
    ),
    "types": (
        lambda m, p: m.embed(p, np.array([[1]]), types=np.array([[0]])),
        "no token types; got types of side 'target'. Leave them out",
    ),
    "states of another width": (lambda m, p: m.unembed(p, jnp.ones((2, 5))), "do not fit; got float32 .*D = 12"),
    "tokens in place of states": (
        lambda m, p: m.unembed(p, jnp.ones((2, 12), int)),
        "hidden states do not fit; got int",
    ),
    "other parameters": (lambda m, p: m.unembed({}, jnp.ones((2, 12))), "not the parameters of this model"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_an_error_that_names_it(name):
    call, says = MISTAKES[name]
    model = tiny("decoder_only")
    with pytest.raises(UserError, match=says):
        call(model.model, model.params)


def test_a_model_of_two_sides_asks_for_one():
    model = tiny("seq2seq")
    with pytest.raises(UserError, match=r"a source and a target; got no side. Pass side='source' or side='target'"):
        model.model.embed(model.params, np.array([[1]]))
    classifier = tiny("decoder_only", class_head=frozendict(classes=3))
    with pytest.raises(UserError, match="a classifier writes no tokens"):
        classifier.model.unembed(classifier.params, jnp.ones((2, 12)))


def test_a_traced_token_outside_of_the_vocabulary_is_embedded_as_nan():
    model = tiny("decoder_only")
    found = jax.jit(model.model.embed)(model.params, jnp.array([[1, V, 2]]))
    assert np.isnan(found).all(-1).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("architecture", "settings", "name", "says"),
    [
        (
            "seq2seq",
            {},
            "encoder.logits",
            "the encoder of this model has no logits.*one of encoder.embedding, .*r.logits",
        ),
        ("encoder_only", {"norm_placement": "post"}, "encoder.final_norm", "has no final norm"),
        ("rnn_seq2seq", {}, "decoder.final_norm", "has no final norm"),
    ],
)
def test_an_activation_that_a_stack_has_not_is_an_error(architecture, settings, name, says):
    model = tiny(architecture, **settings).model
    with pytest.raises(UserError, match=says):
        jax.eval_shape(lambda params: model.apply(params, batch(), capture=(name,)), model.parameter_shapes)
