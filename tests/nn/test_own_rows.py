"""Positions, norms, activations and weights of somebody's own, with parameters and settings of their own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures import own_rows
from tests.fixtures.tiny import SIZES, P, batch, randomised
from transformer.errors import UserError
from transformer.nn.feed_forward import ACTIVATIONS, Activation
from transformer.nn.positions import POSITIONS, Position
from transformer.ops.linear import embed
from transformer.ops.norms import NORMS, Norm, rms_norm
from transformer.ops.positions import QueryKeyPositions, rotary
from transformer.ops.weights import WEIGHTS, Weights, relu
from transformer.tables import Parameter, register

HERE = "tests.fixtures.own_rows"
AXES = {
    "position": (POSITIONS, "kerple", own_rows.kerple),
    "norm": (NORMS, "power_norm", own_rows.power_norm),
    "activation": (ACTIVATIONS, "squared_relu", own_rows.squared_relu),
    "weights": (WEIGHTS, "square_weights", own_rows.square_weights),
}
"""Axis -> its table, a name in `tests.fixtures.own_rows`, and what stands there."""


def build(**settings):
    return transformer.build({**SIZES, "architecture": "decoder_only", **settings})


def with_row(axis, value, **settings):
    if axis in ("query_key_norm", "weights"):
        settings, axis, value = {}, "attention", {axis: value, **settings}
    return build(**{axis: value, **settings})


def program(model):
    return str(jax.make_jaxpr(model.apply)(model.init(0), {"target": jnp.ones((2, 3), int)}))


@pytest.mark.parametrize("axis", AXES)
def test_a_row_works_by_name_path_and_object(axis):
    table, name, row = AXES[axis]
    register(axis, name, row)
    try:
        programs = [program(with_row(axis, value)) for value in (name, f"{HERE}:{name}", row)]
    finally:
        table.remove(name)
    assert len(set(programs)) == 1
    assert program(build()) not in programs


def test_rows_of_ones_own_that_compute_what_those_of_the_tables_do_give_the_same_logits():
    own = {
        "position": Position(
            adds=lambda positions, config, table: embed(positions, table, config.compute_dtype),
            parameters={"table": Parameter("P, D")},
            owner="positions",
        ),
        "norm": Norm(lambda x, scale, epsilon: rms_norm(x, scale, epsilon), {"scale": 1.0}),
        "activation": Activation(lambda x: x * jax.nn.sigmoid(x), gated=True),
        "attention": {"weights": lambda scores, allowed: relu(scores, allowed)},
    }
    named = {"position": "learned", "norm": "rms", "activation": "swiglu", "attention": {"weights": "relu"}}
    ours, theirs = build(**own), build(**named)
    one, two = (jax.jit(model.init)(0) for model in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert ours.parameter_axes(one) == theirs.parameter_axes(two)
    params = randomised(one)
    logits = [jax.jit(model.apply)(params, batch())["logits"] for model in (ours, theirs)]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-4)


def test_positions_that_rotate_get_the_base_and_halves_for_two_maps():
    def turned(x_BTNH, positions, base):
        return rotary(x_BTNH, positions, base)

    settings = {"rotary_base": 50.0, "head_width": 8, "attention": {"differential": True}}
    ours, theirs = (build(position=row, **settings) for row in (Position(rotates=turned), "rotary"))
    assert program(ours) == program(theirs)


def test_parameters_of_a_position_have_their_own_path_axes_and_start():
    model = build(position=own_rows.kerple)
    params = model.init(0)
    own = params["decoder"]["bias"]["position"]
    heads = SIZES["num_heads"]
    np.testing.assert_array_equal(own["r1"], np.full(heads, 1.0))
    np.testing.assert_array_equal(own["r2"], np.full(heads, 0.5))
    axes = model.parameter_axes(params)["decoder"]["bias"]["position"]["r1"]
    assert (axes.kind, axes.letters) == ("vector", ("N",))
    places = QueryKeyPositions(jnp.arange(3), jnp.arange(5))
    bias = own_rows.logarithmic(places, model.config, True, jnp.array([0.3]), jnp.array([-0.2]))
    r1, r2 = np.log1p(np.exp([0.3, -0.2]))
    distance = np.abs(np.arange(3)[:, None] - np.arange(5))
    np.testing.assert_allclose(bias[0], -r1 * np.log1p(r2 * distance), rtol=1e-5)


def test_parameters_of_a_norm_are_as_wide_as_what_it_normalises():
    row = Norm(lambda x, gain, epsilon: x * gain, {"gain": lambda key, shape: jnp.full(shape, 0.5)})
    params = build(norm=row, attention={"query_key_norm": row}).init(0)
    blocks = params["decoder"]["blocks"]
    assert blocks["self_norm"]["gain"].shape == (2, SIZES["width"])
    assert blocks["self"]["query_norm"]["gain"].shape == (2, SIZES["head_width"])
    assert set(np.unique(params["decoder"]["final_norm"]["gain"])) == {0.5}


@pytest.mark.parametrize(
    ("axis", "name", "setting", "function"),
    [("position", "straight", "slope", "falling"), ("norm", "power_norm", "power", "by_power")],
)
def test_own_settings_are_read_and_an_unknown_one_is_an_error(axis, name, setting, function, monkeypatch):
    given = []
    called = getattr(own_rows, function)
    row = getattr(own_rows, name)

    @functools.wraps(called)
    def noting(*values, settings, **named):
        given.append(getattr(settings, setting))
        return called(*values, settings=settings, **named)

    parts = {"bias": noting} if axis == "position" else {"function": noting}
    monkeypatch.setattr(own_rows, name, type(row)(**{**vars(row), **parts}))
    model = build(**{axis: f"{HERE}:{name}", f"{axis}_settings": {setting: 3.5}})
    given.clear()
    jax.eval_shape(model.apply, model.parameter_shapes, {"target": jnp.ones((2, 3), int)})
    assert set(given) == {3.5}
    with pytest.raises(UserError, match=rf"unknown setting of model.{axis}_settings; got 'no'"):
        build(**{axis: f"{HERE}:{name}", f"{axis}_settings": {"no": 1}})


def test_a_table_of_positions_of_ones_own_has_a_longest_sequence():
    row = Position(adds=lambda positions, config, rows: rows[positions], parameters={"rows": Parameter("P, D")})
    model = build(position=row)
    with pytest.raises(UserError, match=f"longer than the table of learned positions; got {P + 1} tokens"):
        jax.eval_shape(model.apply, model.parameter_shapes, {"target": jnp.ones((1, P + 1), int)})
    with pytest.raises(UserError, match=r"learned positions need model.max_length"):
        build(position=row, max_length=None)


def test_other_weights_are_not_fused_and_take_no_sink():
    with pytest.raises(UserError, match=r"sink is one more key of the softmax.*weights .*square_weights.*sink true"):
        with_row("weights", own_rows.square_weights, sink=True)


def biased(function, **parameters):
    return Position(bias=function, parameters={name: Parameter(axes) for name, axes in parameters.items()})


def adding(function, start=None):
    return Position(adds=function, parameters={"r": Parameter("D", start)})


BAD = [
    ("position", lambda x: x, "model.position <function.* is a function; expected a transformer.nn.positions.Position"),
    ("position", biased(lambda p: p), r"takes other arguments; got \(p\); expected.*\(positions, config, causal\)"),
    ("position", biased(lambda p, c, causal: 3), "the bias of model.position .* does not fit; got an int, 3"),
    ("position", biased(lambda p, c, causal: p.distances), "does not fit; got int32 of .*expected floats"),
    ("position", biased(lambda p, c, causal, r: r[:, None], r="N"), r"does not fit; got float32 of shape \(4, 1\)"),
    ("position", biased(lambda p, c, causal, r: r, r="Q"), "'r' of model.position .*an axis without a size.*got 'Q'"),
    ("position", adding(lambda p, c, r: p.no_such), "fails on a small example; got AttributeError"),
    ("position", adding(lambda p, c, r: r, lambda key: 1.0), "the start of 'r' of model.position.*fails"),
    ("position", adding(lambda p, c, r: r, lambda key, shape: jnp.ones(5)), r"start of 'r'.*model width.*got 5"),
    ("position", Position(rotates=lambda x, p, base: x[..., :2]), "rotates has another head width axis.*got 2"),
    ("norm", 3, "model.norm 3 is an int; expected a function .x, epsilon.*Norm"),
    ("norm", lambda x: x, r"takes other arguments.*expected a function of \(x, epsilon\)"),
    ("norm", lambda x, epsilon: x[..., :3], "has another model width axis .D.; got 3"),
    ("norm", Norm(lambda x, bias, epsilon: x + bias, {"bias": 0.0}), r"takes other arguments.*'bias'"),
    ("query_key_norm", lambda x, epsilon: x.no_such, "model.attention.query_key_norm .* fails on a small example"),
    (
        "activation",
        "tests.fixtures.own_rows:Slope",
        "model.activation '.*:Slope' returns is not an array of floats; got a Slope",
    ),
    ("activation", lambda x: x.sum(), "has 0 axes"),
    ("activation", lambda x, y: x, r"takes other arguments.*expected a function of \(x\)"),
    ("weights", 3, "model.attention.weights 3 is an int; expected a function .scores_BNTS, allowed_BNTS"),
    (
        "weights",
        lambda scores: scores,
        r"model.attention.weights.*takes other arguments.*\(scores_BNTS, allowed_BNTS\)",
    ),
    ("weights", Weights(lambda scores, allowed: allowed), "is not an array of floats; got bool"),
]


@pytest.mark.parametrize(("axis", "value", "error"), BAD, ids=range(len(BAD)))
def test_a_row_that_cannot_be_used_is_refused_before_anything_is_computed(axis, value, error):
    with pytest.raises(UserError, match=error):
        with_row(axis, value)


def test_parameters_that_two_functions_or_none_would_take_are_refused():
    with pytest.raises(UserError, match="belong to one of two functions; got parameters r, and rotates; expected adds"):
        Position(rotates=rotary, parameters={"r": Parameter("N")})
