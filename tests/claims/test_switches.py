"""Global switches of JAX that a user may have on: what works with Flax's and Optax's own layers works here.

Programs are traced, not compiled. Optax's own bias correction converts types implicitly, so the update is not traced
with that refused.
"""

import ast
import contextlib
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import distance
from experiments.training.optimizers import OptimizerConfig
from experiments.training.update import initial_state, make_update, token_sums
from tests.fixtures.hyper import hyper
from tests.fixtures.speeds import more
from tests.fixtures.tiny import ARCHITECTURES, B, T, batch, frozendict, side, tiny
from transformer.decoding import (
    Banned,
    Beam,
    Forced,
    MinLength,
    NoRepeatNgram,
    RepetitionPenalty,
    Sampling,
    generate,
    only,
)
from transformer.nn.initializers import Normal, Orthogonal
from transformer.ops.dropout import dropout
from transformer.ops.softmax import masked_softmax

SETTINGS = {
    "encoder_only": dict(position="learned", embedding=frozendict(types=2)),
    "decoder_only": dict(
        position="rotary",
        window=(2, None),
        rotary_base=(10_000.0, 500.0),
        score="cosine",
        attention=frozendict(sink=True, soft_cap=5.0),
    ),
    "seq2seq": dict(position="relative", norm="rms"),
    "rnn_seq2seq": {},
}

RULES = (
    RepetitionPenalty(1.5),
    NoRepeatNgram(2),
    MinLength(1, 2),
    Banned(9, first_only=True),
    Forced(2, last=True),
    only([2, 3, 4], 23, 2),
)

STATED = (
    functools.partial(jax.enable_x64, True),
    functools.partial(jax.numpy_rank_promotion, "raise"),
    functools.partial(jax.numpy_dtype_promotion, "strict"),
)
"""64 bits, no axes that are added implicitly, and no types that are converted implicitly."""

SWITCHES = {
    "nan": functools.partial(jax.debug_nans, True),
    "infinity": functools.partial(jax.debug_infs, True),
    "rbg": functools.partial(jax.default_prng_impl, "rbg"),
    "unsafe_rbg": functools.partial(jax.default_prng_impl, "unsafe_rbg"),
    "keys of their own type": functools.partial(jax.enable_custom_prng, True),
    "no keys of integers": functools.partial(jax.legacy_prng_key, "error"),
    "keys used once": functools.partial(jax.debug_key_reuse, True),
    "threefry not partitionable": functools.partial(jax.threefry_partitionable, False),
    "precision": functools.partial(jax.default_matmul_precision, "float32"),
    "leaks": functools.partial(jax.check_tracer_leaks, True),
    "softmax": functools.partial(jax.softmax_custom_jvp, True),
    "checks": functools.partial(jax.enable_checks, True),
}
"""Other switches -> their context."""


def switched(*switches):
    """Return a context with these switches on."""
    stack = contextlib.ExitStack()
    for switch in switches:
        stack.enter_context(switch())
    return stack


def types(tree) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def with_labels(architecture: str) -> dict:
    """A packed batch with labels, NumPy arrays of 32 bits."""
    inputs = {name: np.asarray(x, np.int32) for name, x in batch().items()}
    inputs |= {f"{name}_segments": np.ones_like(inputs[name]) for name in ("source", "target")}
    labels = inputs[side(architecture)]
    return {**inputs, "labels": labels, "loss_weights": np.ones(labels.shape, np.float32)}


def prompt(architecture: str) -> dict:
    inputs = {name: np.asarray(x, np.int32) for name, x in batch().items()}
    slots = {"prefix_lengths": np.ones(B, np.int32)} if architecture == "encoder_only" else {}
    return {**inputs, **slots}


def generated(architecture: str, strategy: Sampling | Beam):
    """Shapes of generated tokens, their number and scores."""
    model = tiny(architecture, **SETTINGS[architecture]).model

    def run(params, inputs, seed):
        key = jax.random.key(seed) if strategy.random else None
        return generate(model, params, inputs, steps=2, end=2, strategy=strategy, rules=RULES, key=key)

    return jax.eval_shape(run, model.parameter_shapes, prompt(architecture), jax.ShapeDtypeStruct((), jnp.uint32))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_types_and_axes_are_stated_in_models_losses_and_generation(architecture):
    model, inputs = tiny(architecture, **SETTINGS[architecture]).model, with_labels(architecture)
    seed, rate = jax.ShapeDtypeStruct((), jnp.uint32), jax.ShapeDtypeStruct((), jnp.float32)

    def gradient(params, inputs, seed, rate):
        def loss(params):
            return token_sums(model, params, inputs, key=jax.random.key(seed), dropout=rate, smoothing=rate)

        return jax.grad(loss, has_aux=True)(params)

    with switched(*STATED):
        params = jax.eval_shape(lambda seed: model.init(jax.random.key(seed)), seed)
        assert types(params) == {"float32"}
        program, out = jax.make_jaxpr(gradient, return_shape=True)(params, inputs, seed, rate)
        assert types(out) == {"float32"}
        assert "f64[" not in str(program).replace(
            "f64[]", ""
        )  # scalars of Python have 64 bits until they meet an array
        for strategy in (Sampling(0.7, 3, 0.9, 0.1), Beam(2)):
            assert types(generated(architecture, strategy)) == {"int32", "float32"}


def updated(architecture: str):
    """Shapes of the state before and after an update."""
    model, h = tiny(architecture, **SETTINGS[architecture]).model, jax.eval_shape(lambda: hyper(dropout=0.1))
    state = jax.eval_shape(lambda h: initial_state(model, OptimizerConfig(), h, 0.9), h)
    update = make_update(model, OptimizerConfig(), steps=9, ema_decay=0.9, accumulation=B)
    return state, jax.eval_shape(update, state, with_labels(architecture), h)[0]


@pytest.mark.parametrize("architecture", ["decoder_only", more("encoder_only"), more("seq2seq"), more("rnn_seq2seq")])
def test_a_state_of_training_keeps_its_types_with_64_bits(architecture):
    with switched(*STATED[:2]):
        before, after = updated(architecture)
        assert types(after) == {"float32", "int32"}
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), before)


def test_what_is_drawn_is_the_same_with_64_bits():
    def draw():
        key = jax.random.key(3)
        normal = Normal(0.3).draw(key, (3, 5), 2, 0.7)
        return dropout(jnp.ones((9, 7), jnp.float32), 0.4, key), normal, Orthogonal().draw(key, (4, 1, 4), None, 1.0)

    without = draw()
    with jax.enable_x64(True):
        for one, other in zip(draw(), without, strict=True):
            assert one.dtype == jnp.float32
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
            np.testing.assert_array_equal(one == 0, other == 0)


def test_masked_scores_are_neither_infinite_nor_nan_on_the_way():
    scores = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, T, 5)), jnp.float32)
    allowed = np.tri(T, 5, -1, dtype=bool)  # the first query sees nothing
    with switched(SWITCHES["infinity"], SWITCHES["nan"]), jax.disable_jit():
        weights = masked_softmax(scores, jnp.asarray(allowed))
    assert not np.asarray(weights[:, :, 0]).any()


@pytest.mark.more
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_model_trains_and_generates_with_every_other_switch(switch):
    with switched(SWITCHES[switch]):
        assert types(updated("seq2seq")) == {"float32", "int32"}
        assert types(generated("seq2seq", Sampling(0.7))) == {"int32", "float32"}


DRAWS = {"randint": 4, "normal": 2, "uniform": 2, "truncated_normal": 4, "gumbel": 2, "exponential": 2}
"""Function of `jax.random` -> the number of arguments before the type of what it draws."""


def test_every_draw_states_its_type_so_that_64_bits_draw_the_same_numbers():
    calls = untyped = 0
    for path in (file for package in ("transformer", "experiments") for file in Path(package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name.startswith("jax.random.") and name.rpartition(".")[2] in DRAWS:
                before = DRAWS[name.rpartition(".")[2]]
                calls += 1
                untyped += len(node.args) <= before and all(word.arg != "dtype" for word in node.keywords)
    assert (calls > 20, untyped) == (True, 0)


@pytest.mark.parametrize("sample", [distance.recall(2, 9, 5, first=4), distance.copy(2, 5, 7)])
def test_the_data_of_a_study_are_the_same_with_64_bits(sample):
    with jax.enable_x64(True):
        wide = sample(jax.random.key(3), jnp.asarray(4, jnp.int32))
    own = sample(jax.random.key(3), jnp.asarray(4, jnp.int32))
    assert all(np.array_equal(wide[name], own[name]) for name in own)
