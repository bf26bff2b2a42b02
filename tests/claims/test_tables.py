"""Every row of every table, in a model, under jit, vmap over seeds and bfloat16, with every parameter accounted for.

In `make test` few models hold every value, and their parameters are drawn with numpy, since compiling `init` takes
longer than everything else. In `make test-more` each row has its model, and `init` is part of the compiled program.
"""

import dataclasses
import fnmatch
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.covering import cover
from tests.fixtures.tiny import ARCHITECTURES, SIZES, B, S, T, V, batch, randomised, side, tiny, what_is_read
from transformer.nn.block_layout import BLOCK_LAYOUTS
from transformer.nn.feed_forward import ACTIVATIONS
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import ARCHITECTURES as BUILT
from transformer.nn.module_rows import FEED_FORWARDS, STRUCTURES
from transformer.nn.parameter_axes import AXES, sizes
from transformer.nn.positions import POSITIONS
from transformer.nn.recurrent.cells import CELLS
from transformer.ops.norms import NORMS
from transformer.ops.scores import SCORES
from transformer.ops.weights import WEIGHTS

ROWS = [
    *(("architecture", name) for name in ARCHITECTURES),
    *(("score", name) for name in SCORES),
    *(("norm", name) for name in NORMS),
    *(("position", name) for name in POSITIONS),
    *(("activation", name) for name in ACTIVATIONS),
    *(("norm_placement", name) for name in BLOCK_LAYOUTS),
    *(("mixer", name) for name in MIXERS if name != "attention"),
    *(("feed_forward", name) for name in FEED_FORWARDS if name != "mlp"),
    *(("query_key_norm", name) for name in NORMS),
    *(("weights", name) for name in WEIGHTS),
    ("soft_cap", 2.0),
    ("sink", True),
    ("differential", True),
    ("tie_embeddings", False),
    ("token_head", {"bias": True, "transform": "norm", "scale": 0.5, "soft_cap": 2.0}),
    ("token_head", {"tied": False, "transform": "tanh"}),
    ("embedding", {"norm": True, "first_norm": False}),
    ("encoder_window", 2),
    ("bias", False),
    ("cross_attention", False),
    ("self_attention", False),
    ("feed_forward_width", 0),
    *(("recurrent.cell", name) for name in CELLS),
    *(("recurrent.attention", name) for name in (*SCORES, "none") if name != "position_only"),
    ("recurrent.bidirectional", False),
]
IDS = [f"{table}={row}" for table, row in ROWS]


OF_SEQ2SEQ = ("cross_attention", "self_attention", "tie_embeddings", "encoder_window")


def settings_of(table, row):
    """A model whose other settings do not hide the row."""
    if table == "architecture":
        norm = {} if row == "rnn_seq2seq" else {"norm": True}
        extra = {"embedding": {"types": 2, "scale": True, **norm}} if row != "decoder_only" else {}
        return {"architecture": row, **extra}
    if table.startswith("recurrent."):
        return {"architecture": "rnn_seq2seq", "recurrent": {table.partition(".")[2]: row}}
    if table in ATTENTION:
        return {"architecture": "decoder_only", "attention": {table: row}}
    return {"architecture": "seq2seq" if table in OF_SEQ2SEQ else "decoder_only", table: row}


OTHERS = [
    ("architecture", "encoder_only"),
    ("architecture", "rnn_seq2seq"),
    ("recurrent.cell", "lstm"),
    ("recurrent.attention", "none"),
    ("mixer", "linear"),
    ("self_attention", False),
]
"""Architectures and parts that the models of COMBINED do not have."""
ALIKE = ("rotary_linear", "rotary_llama3", "rotary_yarn", "fixed_dot", "geglu_tanh")
"""Rows that are others with other numbers: those of ROWS run in `make test-more`."""
ROTATING = tuple(name for name, row in POSITIONS.items() if row.rotates is not None)
ATTENTION = ("query_key_norm", "weights", "soft_cap", "sink", "differential")
COMBINED = cover(
    {
        "score": [name for name in SCORES if name not in ALIKE],
        "position": [name for name in POSITIONS if name not in ALIKE],
        "activation": [name for name in ACTIVATIONS if name not in ALIKE],
        "norm": list(NORMS),
        "norm_placement": list(BLOCK_LAYOUTS),
        "feed_forward": list(FEED_FORWARDS),
        "query_key_norm": [None, *NORMS],
        "weights": list(WEIGHTS),
        "soft_cap": [None, 2.0],
        "sink": [False, True],
        "differential": [False, True],
        "bias": [True, False],
        "tie_embeddings": [True, False],
        "architecture": ["decoder_only", "seq2seq"],
    },
    lambda row: (
        not any(
            row.get("score") in scores and row.get(table) in values
            for scores, table, values in (
                (("position_only",), "position", ROTATING),
                (("position_only",), "query_key_norm", tuple(NORMS)),
                (("position_only", "bilinear", "additive"), "differential", (True,)),
            )
        )
        and not (row.get("position") in ROTATING and row.get("differential"))
        and not (row.get("weights", "softmax") != "softmax" and row.get("sink"))
    ),  # a half of a head of 6 cannot be turned
    strength=1,
)
"""Few models that hold every value of every table of Transformers."""


def settings_with(row):
    return {
        **{name: value for name, value in row.items() if name not in ATTENTION},
        "attention": {name: row[name] for name in ATTENTION},
    }


def inputs():
    return {**batch(), "source_types": jnp.array([[0, 0, 1, 1, 1]] * B)}


def value_and_slopes(model, params):
    """A loss with the logits, and its gradients."""

    def loss(params):
        logits = model.apply(params, inputs())["logits"]
        return -jnp.mean(jax.nn.log_softmax(logits)[..., ::2] * jnp.arange(1.0, V + 1)[::2]), logits

    return jax.value_and_grad(loss, has_aux=True)(params)


def drawn(table, row):
    """Return the model, three sets of parameters drawn with numpy (the last one small), their logits and gradients.

    Rows at their default share one program.
    """
    return drawn_of(transformer.build(what_is_read({**SIZES, **settings_of(table, row)})))


@functools.cache
def drawn_of(model):
    shapes = model.parameter_shapes
    small = jax.tree.map(lambda x: x / 2, randomised(shapes, 2))
    params = jax.tree.map(lambda *x: jnp.stack(x), randomised(shapes, 0), randomised(shapes, 1), small)
    (_, logits), slopes = jax.jit(jax.vmap(lambda params: value_and_slopes(model, params)))(params)
    return model, params, logits, slopes


@pytest.mark.parametrize("row", COMBINED, ids=str)
def test_all_values_run_under_jit_and_vmap_and_train_all_their_parameters(row):
    settings = what_is_read({**SIZES, **settings_with(row)})
    model, params, logits, slopes = drawn_of(transformer.build(settings))
    check_row(settings, model, params, logits, slopes)


@pytest.mark.parametrize(("table", "row"), OTHERS)
def test_other_architectures_run_under_jit_and_vmap_and_train_all_their_parameters(table, row):
    model, params, logits, slopes = drawn(table, row)
    check_row(settings_of(table, row), model, params, logits, slopes)
    traced = jax.eval_shape(jax.vmap(model.init), jax.random.split(jax.random.key(0), 3))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), traced) == jax.tree.map(lambda x: (x.shape, x.dtype), params)


@pytest.mark.more
@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_every_row_starts_and_trains_in_one_program_over_seeds(table, row):
    model = transformer.build(what_is_read({**SIZES, **settings_of(table, row)}))

    def noise(x):  # numbers of the program: to draw them in it would take longer to compile than the model
        return x + np.random.default_rng(x.size).normal(0, 0.1, x.shape).astype(x.dtype)

    def one(key):
        params = model.init(key)
        return *value_and_slopes(model, jax.tree.map(noise, params)), params

    (_, logits), slopes, params = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0)))
    check_row(settings_of(table, row), model, params, logits, slopes)


def check_row(settings, model, params, logits, slopes):
    """Logits are finite and of this seed, and every parameter has a row in AXES and a gradient."""
    seeds = len(logits)
    assert logits.shape == (seeds, B, S if side(settings["architecture"]) == "source" else T, V)
    assert logits.dtype == jnp.float32
    assert np.isfinite(logits).all()
    assert (np.asarray(logits[0]) != np.asarray(logits[1])).any()
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    check_axes(model, params)
    for path, slope in jax.tree_util.tree_leaves_with_path(slopes):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(slope).all(), name
        if not idle(name, settings):
            assert np.abs(slope).reshape(seeds, -1).max(axis=1).min() > 0, name


def idle(name, settings):
    """Softmax takes out what is the same for all keys; a decoder without cross-attention leaves the encoder alone.

    An additive score is no such product, and a recurrent decoder starts from the encoder.
    """
    if "recurrent" in settings or settings["architecture"] == "rnn_seq2seq":
        additive = settings.get("recurrent", {}).get("attention", "additive") == "additive"
        return "['key']['bias']" in name and not additive
    blind = not settings.get("cross_attention", True)
    blind_to_bias = settings.get("mixer") != "linear"
    return ("['key']['bias']" in name and blind_to_bias) or (blind and ("encoder" in name or "source" in name))


def check_axes(model, params):
    """Each parameter has a row in AXES, whose letters have the array's sizes."""
    letters = sizes(model.config)
    for (path, axes), leaf in zip(
        jax.tree_util.tree_leaves_with_path(model.parameter_axes(params)), jax.tree.leaves(params), strict=True
    ):
        layers = leaf.shape[1] if axes.stacked else None
        expected = tuple(layers if letter == "L" else letters[letter] for letter in axes.letters)
        assert leaf.shape[1:] == expected, (path, axes)
        assert axes.stacked == ("blocks" in jax.tree_util.keystr(path))
        assert axes.stacked is False or layers == 2


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_is_float32_up_to_rounding(architecture):
    check_bfloat16(drawn("architecture", architecture))


@pytest.mark.parametrize("row", COMBINED, ids=str)
def test_bfloat16_is_float32_up_to_rounding_for_all_values(row):
    check_bfloat16(drawn_of(transformer.build(what_is_read({**SIZES, **settings_with(row)}))))


def check_bfloat16(drawn):
    model, params, logits, _ = drawn
    narrow = transformer.build(dataclasses.replace(model.config, dtype="bfloat16"))
    out = jax.jit(narrow.apply)(jax.tree.map(lambda x: x[2], params), inputs())
    assert out["hidden"].dtype == jnp.bfloat16
    np.testing.assert_allclose(out["logits"], logits[2], rtol=0.1, atol=0.12)


@pytest.mark.more
@pytest.mark.parametrize(("table", "row"), ROWS, ids=IDS)
def test_bfloat16_is_float32_up_to_rounding_from_the_start(table, row):
    settings = what_is_read({**SIZES, **settings_of(table, row)})
    wide, narrow = (transformer.build({**settings, "dtype": dtype}) for dtype in ("float32", "bfloat16"))
    params = wide.init(1)  # parameter by parameter: the rows share the programs of their draws
    one, two = (jax.jit(model.apply)(params, batch()) for model in (wide, narrow))
    assert two["hidden"].dtype == jnp.bfloat16
    np.testing.assert_allclose(two["logits"], one["logits"], rtol=0.1, atol=0.12)


def test_key_biases_do_nothing_where_the_score_is_a_product():
    model, inputs = tiny("encoder_only", position="none"), batch()
    blocks = model.params["encoder"]["blocks"]
    key = {**blocks["self"]["key"], "bias": blocks["self"]["key"]["bias"] + 3.0}
    moved = {
        **model.params,
        "encoder": {**model.params["encoder"], "blocks": {**blocks, "self": {**blocks["self"], "key": key}}},
    }
    np.testing.assert_allclose(model(inputs, moved), model(inputs), rtol=1e-4, atol=1e-4)


def test_the_tables_agree_on_the_architectures():
    assert set(STRUCTURES) == set(BUILT) == set(ARCHITECTURES)


def test_every_row_of_the_parameters_axes_is_used_by_some_model():
    seen = set()
    for settings in (
        {
            "architecture": "encoder_only",
            "activation": "geglu",
            "position": "learned",
            "tie_embeddings": False,
            "embedding": {"types": 2},
            "token_head": {"bias": True, "transform": "norm"},
        },
        {"architecture": "encoder_only", "class_head": {"classes": 3}},
        {"architecture": "rnn_seq2seq"},
        {
            "architecture": "decoder_only",
            "position": "relative",
            "attention": {"query_key_norm": "layer", "sink": True, "differential": True},
        },
    ):
        model = transformer.build(what_is_read({**SIZES, **settings}))
        shapes = model.parameter_shapes
        leaves = [[entry.key for entry in path][-2:] for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
        seen |= {row for row in AXES for names in leaves if fnmatch.fnmatchcase(".".join(names), row)}
    assert seen == set(AXES)
