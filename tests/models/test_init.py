"""Initial values: each parameter is drawn by itself, from its row and its path."""

import ast
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.speeds import more
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, SIZES, what_is_read
from transformer.nn.initializers import LONGEST, Normal, Orthogonal, drawn_length
from transformer.nn.parameter_axes import sizes
from transformer.nn.parameters import parameter, path_number

ATTENTION = {"query_key_norm": "layer", "sink": True, "differential": True}
VARIANTS = [
    *({"architecture": name} for name in ARCHITECTURES),
    *({"architecture": "rnn_seq2seq", **settings} for settings in RECURRENT),
    {"architecture": "encoder_only", "position": "learned", "embedding": {"types": 2, "norm": True}},
    {"architecture": "encoder_only", "class_head": {"classes": 3}, "norm_placement": "sandwich"},
    {"architecture": "decoder_only", "position": "relative", "attention": ATTENTION, "tie_embeddings": False},
    {"architecture": "decoder_only", "activation": "swiglu", "norm": "rms", "bias": False, "remat": True},
    {"architecture": "decoder_only", "score": "position_only", "unroll": True, "dtype": "bfloat16"},
    {"architecture": "seq2seq", "score": "bilinear", "num_decoder_layers": 3, "num_kv_heads": 4},
    {"architecture": "seq2seq", "score": "additive", "self_attention": False, "feed_forward_width": 0},
    {"architecture": "seq2seq", "score": "cosine", "cross_attention": False},
]


def model_of(settings):
    return transformer.build(what_is_read({**SIZES, **settings}))


def by_path(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def in_layers(path, array):
    """The parts of a parameter that are drawn by themselves."""
    return list(np.asarray(array)) if "/blocks/" in path else [array]


@pytest.fixture(scope="module")
def drawn():
    """The initial values of each of VARIANTS: path -> array."""
    return [{path: np.asarray(x) for path, x in by_path(model_of(v).init(jax.random.key(3))).items()} for v in VARIANTS]


def test_a_model_has_the_parameters_that_its_module_declares():
    tokens = jnp.zeros((1, 1), jnp.int32)
    for settings in VARIANTS:
        model = model_of(settings)
        declared = jax.eval_shape(model.module.init, jax.random.key(0), {"source": tokens, "target": tokens})
        assert jax.eval_shape(model.init, jax.random.key(0)) == declared["params"], settings


def test_models_start_the_parameters_that_they_share_alike(drawn):
    first, shared = {}, 0
    for params in drawn:
        for path, array in params.items():
            for layer, part in enumerate(in_layers(path, array)):
                other = first.setdefault((path, layer, part.shape), part)
                np.testing.assert_array_equal(part, other, err_msg=f"{path} {layer}")
                shared += other is not part
    assert shared > 300


def test_a_layer_does_not_depend_on_the_number_of_layers():
    shallow, deep = (
        by_path(model_of({"architecture": "decoder_only", "num_layers": layers}).init(jax.random.key(1)))
        for layers in (2, 5)
    )
    for path, array in shallow.items():
        same = np.asarray(deep[path])
        np.testing.assert_array_equal(array, same[:2] if "/blocks/" in path else same, err_msg=path)


def test_no_two_parameters_and_no_two_layers_start_alike(drawn):
    """Draws from one key are multiples of each other; orthogonal matrices of one key have such first columns."""
    for params in drawn:
        found = {}
        for path, array in params.items():
            for layer, part in enumerate(in_layers(path, array)):
                numbers = part[:, 0, 0] if path.endswith("/recurrent") else part.ravel()[:3]
                if np.unique(part).size > part[..., 0].size:
                    ratios = tuple(np.round(numbers[1:3] / numbers[0], 3))
                    assert ratios not in found, (path, layer, found[ratios])
                    found[ratios] = (path, layer)
        assert len(found) > 10


def test_every_path_has_a_number_of_its_own_that_no_process_changes(drawn):
    paths = {path for params in drawn for path in params}
    assert len({path_number(path.split("/")) for path in paths}) == len(paths) > 100
    assert path_number(["decoder", "blocks", "self", "query", "kernel"]) == 1885194300


@pytest.mark.parametrize("settings", [more(VARIANTS[2]), VARIANTS[3], VARIANTS[10]], ids=str)
def test_jit_and_vmap_draw_the_same_bits(settings):
    model, keys = model_of(settings), jax.random.split(jax.random.key(0))
    scales = (1.0, 0.3)
    alone = [model.init(key, scale) for key, scale in zip(keys, scales, strict=True)]
    jitted = jax.jit(model.init)
    traced = [jitted(key, jnp.array(scale)) for key, scale in zip(keys, scales, strict=True)]
    lanes = jax.jit(jax.vmap(model.init))(keys, jnp.array(scales))
    together = [jax.tree.map(lambda x, i=i: np.asarray(x)[i], lanes) for i in range(2)]
    for one, two, three in zip(alone, traced, together, strict=True):
        jax.tree.map(np.testing.assert_array_equal, one, two)
        jax.tree.map(np.testing.assert_array_equal, one, three)


def test_a_second_call_compiles_nothing(caplog):
    settings = {"architecture": "rnn_seq2seq"}
    model_of(settings).init(jax.random.key(0))
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        jnp.sin(np.zeros((3, 1, 4, 1, 5, 9), np.float32)).block_until_ready()
        assert "Compiling" in caplog.text
        caplog.clear()
        model_of(settings).init(jax.random.key(1), 0.5)
    assert "Compiling" not in caplog.text


@pytest.mark.parametrize("shape", [(3,), (5, 7, 2), (2**10, 1), (2**10, 3), (3, 2**15)])
def test_a_draw_that_is_cut_has_the_numbers_of_one_of_the_exact_size(shape):
    key = jax.random.key(5)
    exact = jax.random.normal(jax.random.fold_in(key, 0), shape)
    np.testing.assert_array_equal(Normal(1.0).draw(key, shape, None, 1.0), exact)


def test_short_draws_have_few_lengths_and_long_ones_are_not_made_longer():
    assert {drawn_length((size,)) for size in range(1, 2**13)} == {2**10, 2**11, 2**12, 2**13}
    assert drawn_length((LONGEST + 1,)) == LONGEST + 1


def test_initial_values_are_those_of_the_row():
    config = model_of({"architecture": "rnn_seq2seq", "recurrent": {"cell": "lstm"}}).config
    assert parameter("output", "kernel", config).start == Normal((4 * 6) ** -0.5)
    assert parameter("target_embedding", "table", config).start == Normal(12**-0.5)
    assert parameter("lambda", "query", config).start == Normal(0.1)
    assert parameter("cell", "recurrent", config).start == Orthogonal()
    assert parameter("forward", "bias", config).start.rows == (0.0, 1.0, 0.0, 0.0)
    assert parameter("cell", "recurrent_bias", config).start.rows == (0.0,)
    assert parameter("after_norm", "scale", config).start.rows == (1.0,)


def test_one_function_alone_makes_parameters():
    calls = [
        path.name
        for path in Path(transformer.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "param"
    ]
    assert sorted(calls) == ["parameters.py", "stack.py"]  # a stack makes those of its layers by the blocks' own


def test_parameters_start_with_variance_one_over_fan_in_and_the_initial_scale_may_be_traced():
    model = transformer.build({"architecture": "seq2seq", "vocab_size": 211, "width": 60, "num_heads": 5})
    init = jax.jit(model.init)
    params, scaled = init(jax.random.key(0), jnp.array(1.0)), init(jax.random.key(0), jnp.array(0.5))
    letters = sizes(model.config)
    for (path, axes), one, two in zip(
        jax.tree_util.tree_leaves_with_path(model.parameter_axes(params)),
        jax.tree.leaves(params),
        jax.tree.leaves(scaled),
        strict=True,
    ):
        if axes.kind == "vector":
            np.testing.assert_array_equal(one, two)
            assert set(np.unique(one)) == {1.0 if path[-1].key == "scale" else 0.0}
        else:
            fan_in = np.prod([letters[a] for a in axes.inputs]) if axes.kind == "matrix" else 60
            np.testing.assert_allclose(np.std(one), fan_in**-0.5, rtol=0.1)
            np.testing.assert_allclose(two, np.asarray(one) * 0.5, rtol=1e-6)
    first, second = np.asarray(params["encoder"]["blocks"]["feed_forward"]["up"]["kernel"])
    assert (first != second).any()
