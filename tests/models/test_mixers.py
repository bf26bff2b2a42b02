"""Mixers in the place of self-attention: what they read, record and cache, and those of somebody's own."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from examples.mixer import recurrence
from tests.fixtures.tiny import SIZES, V, batch, randomised, tiny, what_is_read
from transformer.errors import UserError
from transformer.nn.attention import SelfAttention
from transformer.nn.mixers import MIXERS, Mixer
from transformer.tables import Parameter


def build(**settings):
    return transformer.build(what_is_read({**SIZES, "architecture": "decoder_only", **settings}))


def test_a_module_that_computes_what_a_row_of_the_table_does_gives_the_same_program():
    own = dataclasses.replace(MIXERS["attention"], module=SelfAttention)

    def program(model):
        return str(jax.make_jaxpr(model.apply)(model.parameter_shapes, {"target": jnp.ones((2, 3), int)}))

    assert program(build(mixer=own, position="rotary")) == program(build(position="rotary"))
    assert program(build(mixer="linear")) != program(build())


@pytest.mark.parametrize("mixer", ["linear", recurrence], ids=str)
def test_a_state_is_as_large_for_a_long_answer_as_for_a_short_one(mixer):
    model, prompt = build(mixer=mixer), {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    few, many = (
        jax.eval_shape(lambda params, n=n: model.start(params, prompt, steps=n)[1], model.parameter_shapes)
        for n in (1, 20)
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), few) == jax.tree.map(lambda x: (x.shape, x.dtype), many)
    assert all(x.shape[:2] == (2, 2) for x in jax.tree.leaves(few["blocks"]))


def test_sites_and_names_are_those_of_the_mixer():
    model = tiny("seq2seq", mixer="linear").model
    names = [name for name in model.sites(batch()) if name.startswith(("encoder.*.self", "decoder.*.self"))]
    assert [name.rpartition(".")[2] for name in names] == ["query", "key", "value", "head", "output"] * 2
    assert "decoder.*.cross.weights" in model.sites(batch())
    assert "encoder: 2 layers, mixer linear, feed-forward" in repr(model)
    with pytest.raises(
        UserError, match=r"mixer of this model computes no weights; got 'decoder.\*.self.weights'; expected .*self.head"
    ):
        model.apply({}, batch(), capture=("decoder.*.self.weights",))
    with pytest.raises(UserError, match=r"no such head of self.key; got 2; expected 0 to 1"):
        model.apply({}, batch(), capture=("decoder.*.self.key.2",))


class Gated(nn.Module):
    """x times a gate for each head, which is recorded; it mixes nothing."""

    config: object

    @nn.compact
    def __call__(self, x_BTD, inputs):
        gate_BTN = jnp.tanh(x_BTD[..., : self.config.num_heads])
        gate_BTN = inputs.recorder.record("gate", gate_BTN)
        output_BTD = x_BTD * jnp.einsum("BTN->BT", gate_BTN)[..., None]
        return inputs.recorder.record("output", output_BTD), {}


GATED = Mixer(Gated, sites={"gate": "B T N", "output": "B T D"}, reads=("num_heads",), empty_cache=lambda c, b, n: {})


def test_what_a_mixer_of_ones_own_records_is_captured_and_replaced_by_head():
    model = build(mixer=GATED)
    params, name = randomised(model.parameter_shapes), "decoder.*.self.gate"
    assert model.sites(batch())[name][:2] == ("L B T N", (2, 3, 7, SIZES["num_heads"]))

    @jax.jit
    def run(params):
        out = model.apply(params, batch(), capture=(name, "decoder.1.self.gate.2"))
        off = model.apply(params, batch(), capture=(name,), replace={"decoder.1.self.gate.2": jnp.zeros_like})
        return out, off

    out, off = run(params)
    gates, one = out["captured"][name], out["captured"]["decoder.1.self.gate.2"]
    np.testing.assert_array_equal(one[0], gates[1, ..., 2])
    np.testing.assert_array_equal(off["captured"][name][1], gates[1].at[..., 2].set(0.0))
    assert np.abs(off["logits"] - out["logits"]).max() > 1e-3


REFUSED = [
    ({"score": "dot"}, "model.score is not read by architecture 'decoder_only' with model.mixer 'linear'; got 'dot'"),
    ({"window": 3}, "model.window is not read by .*expected it only with a mixer that reads it, such as attention"),
    ({"attention": {"sink": True}}, "model.attention.sink is not read by .*model.mixer 'linear'"),
    ({"attention": {"weights": "relu"}}, "model.attention.weights is not read by .*model.mixer 'linear'"),
    ({"attention": {"mask": "examples.mask:every_second"}}, "model.attention.mask is not read by"),
    ({"relative": {"buckets": 8}}, "model.relative.buckets is not read by .*model.mixer 'linear'"),
    ({"position": "rotary"}, "work within self-attention, and the mixer does not read them; got .*rotary, .*linear"),
    ({"position": "alibi"}, "work within self-attention, and the mixer does not read them"),
    ({"architecture": "seq2seq", "window": 3}, "model.window is not read by architecture 'seq2seq' with .*'linear'"),
    ({"architecture": "seq2seq", "cross_attention": False, "score": "dot"}, "model.score is not read by"),
    ({"architecture": "seq2seq", "self_attention": False}, "model.mixer is not read by architecture 'seq2seq' with"),
    ({"architecture": "rnn_seq2seq"}, "model.mixer is not read by architecture 'rnn_seq2seq'"),
    ({"mixer": recurrence, "num_heads": 2}, "model.num_heads is not read by .*mixer 'examples.mixer:Recurrence'"),
    (
        {"mixer": recurrence, "architecture": "encoder_only"},
        "cannot stand in a stack .*decoder alone, .*encoder",
    ),
    (
        {"mixer": recurrence, "architecture": "seq2seq"},
        "cannot stand in a stack .*with the encoder",
    ),
    ({"mixer": "liner"}, "Did you mean 'linear'"),
]


@pytest.mark.parametrize(("settings", "error"), REFUSED, ids=range(len(REFUSED)))
def test_settings_that_a_mixer_does_not_read_are_refused(settings, error):
    with pytest.raises(UserError, match=error):
        transformer.build({"architecture": "decoder_only", "vocab_size": V, "mixer": "linear", **settings})


def test_settings_that_cross_attention_reads_stay_and_unread_heads_need_not_divide_the_width():
    transformer.build(architecture="seq2seq", vocab_size=V, mixer="linear", score="dot", attention={"sink": True})
    transformer.build(architecture="encoder_only", vocab_size=V, mixer="linear", num_kv_heads=2)
    model = transformer.build(architecture="decoder_only", vocab_size=V, mixer=recurrence, width=10)
    assert (model.config.num_kv_heads, model.config.head_width) == (None, None)


def test_a_prefix_is_refused_by_a_mixer_that_looks_back_alone():
    model = build(mixer=recurrence)
    with pytest.raises(UserError, match="looks back alone, and a prefix sees both ways; got prefix_lengths"):
        model.sites({**batch(), "prefix_lengths": jnp.array([2, 1, 1])})


def test_a_mixer_without_a_cache_scores_and_does_not_decode():
    model = build(mixer=dataclasses.replace(GATED, empty_cache=None))
    model.sites(batch())
    prompt = {"target": jnp.ones((2, 3), int), "target_lengths": jnp.array([3, 1])}
    with pytest.raises(UserError, match="cannot decode; got no empty_cache"):
        jax.eval_shape(lambda params: model.start(params, prompt, steps=2), model.parameter_shapes)


class Given(nn.Module):
    """A mixer that returns what a function of its input and the cache does."""

    config: object
    settings: object

    def __call__(self, x_BTD, inputs):
        inputs.recorder.record("output", x_BTD)
        return self.settings.function(x_BTD, inputs.cache)


@dataclasses.dataclass(frozen=True)
class Function:
    function: object = None


def given(function, **fields):
    fields = {"empty_cache": lambda config, batch, length, settings: {"state": jnp.zeros((batch, 3))}, **fields}
    return Mixer(Given, settings=Function(function), **fields)


class Alone(nn.Module):
    config: object

    @nn.compact
    def __call__(self, x_BTD, inputs):
        return inputs.recorder.record("output", x_BTD * self.param("w", nn.initializers.ones, (3,))[0]), {}


BAD = [
    (3, "model.mixer 3 is an int; expected a class of a Linen module .config. that is called with .x_BTD, inputs"),
    (lambda config: config, "the module of a Mixer is no class of a Linen module"),
    (nn.Dense, "model.mixer .*Dense' fails on a small example.*called with .x_BTD, inputs"),
    (given(lambda x, cache: x), r"returns something else than its output and its cache; got float32.*\(y_BTD, cache\)"),
    (given(lambda x, cache: (x[..., :5], cache)), "the output that model.mixer .* has another model width axis .D."),
    (given(lambda x, cache: (x.sum(), cache)), "the output that model.mixer .* has 0 axes"),
    (
        given(lambda x, cache: (x, None)),
        "another cache than it is given; got none; expected .'state': 'float32 ",
    ),
    (given(lambda x, cache: (x, {})), "another cache than it is given; got {}; expected .'state'"),
    (
        given(lambda x, cache: (x, {"state": jnp.zeros((2, 4))})),
        r"another cache .*got .'state': 'float32 \(2, 4\)'.*Return it after the tokens",
    ),
    (given(lambda x, cache: (x, cache), sites={}), "records other activations .*got output; expected none.*sites="),
    (
        given(lambda x, cache: (x, cache), sites={"output": "B T D", "gate": "B T N"}),
        "records other activations than its row declares; got output; expected gate, output",
    ),
    (
        given(lambda x, cache: (x, cache), sites={"output": "B T H"}, reads=("head_width", "num_heads")),
        "the activation 'output' of model.mixer .*has another head width axis .H.; got 12 .*expected 3",
    ),
    (
        given(lambda x, cache: (x, cache), empty_cache=lambda config, batch, length, settings: {"state": jnp.zeros(3)}),
        "'state' of the cache of .* has no leading B; got float32 of shape .3,.; expected 2",
    ),
    (given(lambda x, cache: (x, cache), empty_cache=lambda config: {}), "fails on a small example; got TypeError"),
    (Alone, r"self.w has no row in .*AXES. Add one; or give the row of a table.*\"self.w\""),
    (Mixer(Alone, {"self.w": Parameter("D")}), r"w of .*another shape; got \(3,\).*12"),
]


@pytest.mark.parametrize(("value", "error"), BAD, ids=range(len(BAD)))
def test_a_mixer_that_cannot_be_used_is_refused_before_anything_is_computed(value, error):
    with pytest.raises(UserError, match=error):
        transformer.build(architecture="decoder_only", vocab_size=V, width=12, mixer=value)


def test_rows_that_cannot_be_made_are_refused():
    with pytest.raises(UserError, match=r"unknown setting that a mixer reads; got 'scores'.*Did you mean 'score'"):
        Mixer(Gated, reads=("scores",))
    with pytest.raises(UserError, match=r"unknown stack of a mixer; got 'encode'.*Did you mean 'encoder'"):
        Mixer(Gated, stacks=("encode",))
