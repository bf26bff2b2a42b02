"""Block layouts, feed-forwards and architectures of somebody's own."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import transformer
from tests.fixtures import own_modules
from tests.fixtures.tiny import SIZES, V, batch, randomised, what_is_read
from transformer.decoding import generate
from transformer.errors import UserError
from transformer.models.decoder_only import DecoderOnly
from transformer.nn.block_layout import BLOCK_LAYOUTS
from transformer.nn.feed_forward import FeedForward
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import ARCHITECTURES, FEED_FORWARDS, Architecture, FeedForwardRow
from transformer.tables import Parameter, register

HERE = "tests.fixtures.own_modules"
AXES = {
    "block_layout": (BLOCK_LAYOUTS, "norm_placement", "scaled"),
    "mixer": (MIXERS, "mixer", "recurrence"),
    "feed_forward": (FEED_FORWARDS, "feed_forward", "normed_hidden"),
    "architecture": (ARCHITECTURES, "architecture", "averages"),
}
"""Axis -> its table, its setting, and a row in `tests.fixtures.own_modules`."""


def build(**settings):
    return transformer.build(what_is_read({**SIZES, "architecture": "decoder_only", **settings}))


def program(model):
    return str(jax.make_jaxpr(model.apply)(model.parameter_shapes, {"target": jnp.ones((2, 3), int)}))


@pytest.mark.parametrize("axis", AXES)
def test_a_row_works_by_name_path_and_object(axis):
    table, setting, name = AXES[axis]
    row = getattr(own_modules, name)
    register(axis, name, row)
    try:
        programs = [program(build(**{setting: value})) for value in (name, f"{HERE}:{name}", row)]
    finally:
        table.remove(name)
    assert len(set(programs)) == 1
    assert program(build()) not in programs


def test_rows_that_compute_what_those_of_the_tables_do_give_the_same_program():
    def before(x, sublayers, norm, drop):
        for name, sublayer in sublayers.items():
            x = x + drop(name)(sublayer(norm(name)(x)))
        return x

    assert program(build(norm_placement=before, feed_forward=FeedForward, architecture=DecoderOnly)) == program(build())


@pytest.mark.parametrize("setting", ["norm_placement", "feed_forward"])
def test_own_settings_change_the_result_and_an_unknown_one_is_an_error(setting):
    row = {"norm_placement": own_modules.scaled, "feed_forward": own_modules.normed_hidden}[setting]
    models = [build(**{setting: row, f"{setting}_settings": {"factor": factor}}) for factor in (0.5, 3.0)]
    params = randomised(models[0].parameter_shapes)
    one, two = (jax.jit(model.apply)(params, batch())["logits"] for model in models)
    assert np.abs(one - two).max() > 0.1
    with pytest.raises(UserError, match=rf"unknown setting of model.{setting}_settings; got 'no'"):
        transformer.build({**SIZES, "architecture": "decoder_only", setting: row, f"{setting}_settings": {"no": 1}})


def test_parallel_sublayers_read_one_norm_of_the_stream():
    model = build(architecture="seq2seq", norm_placement="parallel", num_layers=1)
    blocks = model.parameter_shapes["decoder"]["blocks"]
    assert sorted(blocks) == ["cross", "feed_forward", "self", "self_norm"]
    names = ["self.output", "cross.output", "feed_forward.output", "residual"]
    captured = jax.jit(
        lambda params, batch: model.apply(
            params, batch, capture=["decoder.embedding", *(f"decoder.0.{name}" for name in names)]
        )["captured"]
    )(randomised(model.parameter_shapes), batch())
    *parts, residual = (captured[f"decoder.0.{name}"][0] for name in names)
    np.testing.assert_allclose(residual, captured["decoder.embedding"] + sum(parts), rtol=1e-5, atol=1e-5)


def test_parameters_of_a_feed_forward_have_their_own_axes_and_start():
    model = build(feed_forward=own_modules.normed_hidden)
    params = jax.jit(model.init)(0)
    own = params["decoder"]["blocks"]["feed_forward"]
    width, hidden = SIZES["width"], SIZES["feed_forward_width"]
    assert own["hidden_norm"]["scale"].shape == (2, hidden)
    assert set(np.unique(own["hidden_norm"]["scale"])) == {1.0}
    np.testing.assert_allclose(np.std(own["mix"]), width**-0.5, rtol=0.2)
    axes = model.parameter_axes(params)["decoder"]["blocks"]["feed_forward"]["mix"]
    assert (axes.kind, axes.letters) == ("matrix", ("L", "D", "D"))


@functools.cache
def of_averages():
    model = build(architecture=f"{HERE}:averages")
    return model, randomised(model.parameter_shapes)


def test_an_architecture_of_ones_own_looks_back_alone_and_decodes_as_it_reads():
    model, params = of_averages()
    inputs, apply = {"target": batch()["target"]}, jax.jit(model.apply)
    logits = apply(params, inputs)["logits"]
    later = {**inputs, "target": inputs["target"].at[:, 4:].set(inputs["target"][:, 4:] % (V - 1) + 1)}
    np.testing.assert_array_equal(apply(params, later)["logits"][:, :4], logits[:, :4])
    prompt = {"target": inputs["target"][:, :3], "target_lengths": jnp.array([3, 2, 1])}
    step = jax.jit(model.step)
    found, cache, _ = jax.jit(functools.partial(model.start, steps=3))(params, prompt)
    for index in range(3):
        at = prompt["target_lengths"] - 1 + index
        np.testing.assert_allclose(found, logits[jnp.arange(3), at], rtol=1e-4, atol=1e-5)
        found, cache, _ = step(params, inputs["target"][jnp.arange(3), at + 1], cache)


def test_an_architecture_of_ones_own_exports_its_generation():
    model, params = of_averages()
    prompt = {"target": batch()["target"][:, :3], "target_lengths": jnp.array([3, 2, 1])}
    run = jax.jit(lambda params, prompt: generate(model, params, prompt, steps=3, end=1).tokens)
    exported = export.export(run, platforms=("cpu", "cuda"))(params, prompt)
    loaded = export.deserialize(exported.serialize())
    np.testing.assert_array_equal(loaded.call(params, prompt), run(params, prompt))


def test_what_an_architecture_does_not_record_is_refused_by_name():
    model, params = of_averages()
    with pytest.raises(UserError, match="the decoder of this model has no self-attention"):
        model.apply(params, batch(), capture=("decoder.*.self.weights",))
    assert "decoder.logits" in model.sites(batch())


class Listed(DecoderOnly):
    def __call__(self, batch, dropout=None):
        return [1]


class Growing(DecoderOnly):
    def step(self, tokens_B, cache):
        logits_BV, cache, captured = super().step(tokens_B, cache)
        return logits_BV, {**cache, "index": jnp.stack([cache["index"]] * 2)}, captured


class Alone(nn.Module):
    config: object

    @nn.compact
    def __call__(self, x_BTD, recorder):
        return x_BTD * self.param("w", nn.initializers.ones, (3,))[0]


def of_x(x, sublayers, norm, drop):
    return x


BAD = [
    ("norm_placement", 3, "model.norm_placement 3 is an int; expected a function .x, sublayers, norm, drop"),
    ("norm_placement", lambda x: x, r"takes other arguments.*expected a function of \(x_BTD, sublayers, norm, drop\)"),
    ("norm_placement", of_x, "does not call each sublayer once; got calls of none; expected one of each of self, feed"),
    ("norm_placement", lambda x, s, norm, drop: norm("selv")(x), "calls norm of something else; got 'selv'"),
    ("norm_placement", lambda x, s, norm, drop: x.sum(), "returns.*has 0 axes"),
    ("norm_placement", lambda x, s, norm, drop: s["cross"](x), "fails on a small example; got KeyError: 'cross'"),
    ("feed_forward", 3, "model.feed_forward 3 is an int; expected a class of a Linen module"),
    ("feed_forward", lambda config: config, "the module of a FeedForwardRow is no class of a Linen module"),
    ("feed_forward", nn.Dense, "model.feed_forward .*Dense' fails on a small example.*called with .x_BTD, recorder"),
    (
        "feed_forward",
        Alone,
        r"feed_forward.w has no row in .*AXES. Add one; or give the row of a table.*\"feed_forward.w\"",
    ),
    (
        "feed_forward",
        FeedForwardRow(Alone, {"feed_forward.w": Parameter("D")}),
        r"w of .*another shape; got \(3,\).*12",
    ),
    ("feed_forward", FeedForwardRow(Alone, {"feed_forward.w": Parameter("Q")}), "an axis without a size.*got 'Q'"),
    ("architecture", 3, "model.architecture 3 is an int; expected a class of a Linen module .config, request"),
    ("architecture", nn.Dense, "model.architecture .*Dense' fails on a small example"),
    ("architecture", Listed, "returns has no logits; got a list"),
    ("architecture", Growing, "step of .* changes the shapes of the cache"),
]


@pytest.mark.parametrize(("setting", "value", "error"), BAD, ids=range(len(BAD)))
def test_a_row_that_cannot_be_used_is_refused_before_anything_is_computed(setting, value, error):
    with pytest.raises(UserError, match=error):
        transformer.build({**SIZES, "architecture": "decoder_only", setting: value})


def test_rows_that_cannot_be_made_are_refused():
    with pytest.raises(UserError, match=r"unknown family of an architecture; got 'gpt'.*Did you mean 'decoder_only'"):
        Architecture(DecoderOnly, like="gpt")
    with pytest.raises(UserError, match="a parameter of a row has no owner; got 'w'"):
        FeedForwardRow(Alone, {"w": Parameter("D")})


def test_settings_that_a_feed_forward_does_not_read_are_refused():
    row = FeedForwardRow(Alone, {"feed_forward.w": Parameter("D")}, reads_activation=False, reads_width=False)
    for setting, value in {"activation": "gelu", "feed_forward_width": 5}.items():
        with pytest.raises(UserError, match=f"model.{setting} is not read by .*'decoder_only' with model.feed_forward"):
            transformer.build(vocab_size=V, architecture="decoder_only", feed_forward=row, **{setting: value})
    with pytest.raises(UserError, match="a feed-forward of width 0 is none"):
        transformer.build(
            {**what_is_read({**SIZES, "feed_forward": own_modules.normed_hidden}), "feed_forward_width": 0}
        )
