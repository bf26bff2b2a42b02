"""Claims about every optimizer of the table, and each one's own against NumPy in float64."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.storage.checkpoints import Checkpoints
from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OPTIMIZERS, OptimizerConfig, optimizer
from tests.fixtures import hyper as fixtures
from tests.fixtures.speeds import core_of
from tests.golden.files import load
from transformer import build
from transformer.nn.parameter_axes import Axes, parse_axes
from transformer.nn.parameters import parameter_axes

L, D, N, H, V = 3, 5, 2, 7, 11

AXES = {
    "query": dataclasses.replace(parse_axes("D -> N H"), stacked=True),
    "output": dataclasses.replace(parse_axes("N H -> D"), stacked=True),
    "bias": dataclasses.replace(parse_axes("N H"), stacked=True),
    "final": parse_axes("D -> D"),
    "table": parse_axes("V, D"),
    "head": parse_axes("D -> V"),
    "scale": parse_axes("D"),
}
"""Each kind of parameter, stacked and not."""

SIZES = {"L": L, "D": D, "N": N, "H": H, "V": V}
MATRICES = ("query", "output", "final")
STEPS = 4


def tree_of(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {k: jnp.asarray(rng.normal(size=[SIZES[x] for x in a.letters]).astype(np.float32)) for k, a in AXES.items()}


hyper = functools.partial(fixtures.hyper, warmup_steps=0, weight_decay=0.0, beta2=0.95)


@functools.partial(jax.jit, static_argnums=(0, 1))
def steps_of(name: str, axes: tuple[tuple[str, Axes], ...], params, gradients, h):
    """The parameters after each step and the state after the last; gradients have a leading step."""
    transform = optimizer(OptimizerConfig(name=name, clip_norm=None), h, dict(axes))

    def one(carry, gradient):
        params, state = carry
        direction, state = transform.update(gradient, state, params)
        params = jax.tree.map(lambda p, d: p - h.learning_rate * d, params, direction)
        return (params, state), (params, direction)

    (_, state), (params, directions) = jax.lax.scan(one, (params, transform.init(params)), gradients)
    return params, directions, state


def run(name: str, h: Hyperparameters, axes=AXES, params=None, gradients=None):
    params = tree_of(0) if params is None else params
    if gradients is None:
        gradients = jax.tree.map(lambda *x: np.stack(x), *[tree_of(1 + i) for i in range(STEPS)])
    return steps_of(name, tuple(axes.items()), params, gradients, h)


def close(a, b, rtol=1e-4, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


each = pytest.mark.parametrize("name", OPTIMIZERS)


@each
def test_a_quadratic_falls(name):
    h = hyper(learning_rate=0.05)
    transform = optimizer(OptimizerConfig(name=name), h, AXES)
    target = tree_of(9)

    @jax.jit
    def fall(params):
        def one(carry, _):
            params, state = carry
            gradient = jax.tree.map(jnp.subtract, params, target)
            direction, state = transform.update(gradient, state, params)
            return (jax.tree.map(lambda p, d: p - h.learning_rate * d, params, direction), state), None

        return jax.lax.scan(one, (params, transform.init(params)), None, length=150)[0][0]

    start = tree_of(0)
    end = fall(start)
    for key in AXES:
        before, after = (np.linalg.norm(np.asarray(x[key]) - target[key]) for x in (start, end))
        assert after < 0.5 * before, (key, before, after)


@each
def test_stacked_layers_move_as_each_would_alone(name):
    """With layers of very different gradients, so that whatever is shared between them shows."""
    h = hyper(weight_decay=0.3)
    factor = np.float32([1.0, 1e-2, 30.0])
    params, axes = tree_of(0), {k: a for k, a in AXES.items() if a.stacked}
    params = {k: params[k] for k in axes}
    gradients = [{k: np.einsum("l...,l->l...", x[k], factor) for k in axes} for x in map(tree_of, range(1, 5))]
    gradients = jax.tree.map(lambda *x: np.stack(x), *gradients)
    together, _, _ = run(name, h, axes, params, gradients)
    plain = {k: dataclasses.replace(a, stacked=False) for k, a in axes.items()}

    def of_layer(layer, tree, axis):
        return jax.tree.map(lambda x: np.take(np.asarray(x), layer, axis), tree)

    for layer in range(L):
        alone, _, _ = run(name, h, plain, of_layer(layer, params, 0), of_layer(layer, gradients, 1))
        close(alone, of_layer(layer, together, 1))


@pytest.mark.parametrize("name", core_of(OPTIMIZERS, lambda name: name in ("adamw", "muon")))
def test_trials_run_as_lanes_of_vmap_and_equal_separate_runs(name):
    trials = [hyper(learning_rate=0.01, beta1=0.8, weight_decay=0.1), hyper(learning_rate=0.1, beta2=0.5)]
    lanes = jax.tree.map(lambda *x: np.stack(x), *trials)
    together = jax.vmap(functools.partial(run, name))(lanes)
    for lane, h in enumerate(trials):
        close(run(name, h), jax.tree.map(lambda x, i=lane: np.asarray(x)[i], together))


@each
def test_matrices_and_tables_decay_and_vectors_do_not(name):
    h, zero = (
        hyper(weight_decay=0.5, learning_rate=0.1),
        jax.tree.map(lambda x: np.zeros((1, *x.shape), np.float32), tree_of(0)),
    )
    params, _, _ = run(name, h, gradients=zero)
    for key, start in tree_of(0).items():
        kept = 1.0 if AXES[key].kind == "vector" else 1.0 - 0.05
        np.testing.assert_allclose(np.asarray(params[key])[0], kept * np.asarray(start), rtol=1e-5)


@each
def test_the_state_is_arrays_and_does_not_depend_on_hyperparameters(name):
    states = [
        optimizer(OptimizerConfig(name=name), h, AXES).init(tree_of(0))
        for h in (hyper(), hyper(learning_rate=0.3, weight_decay=0.2, beta1=0.1, beta2=0.2))
    ]
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(states[0]))
    jax.tree.map(np.testing.assert_array_equal, *states)


@each
def test_the_state_comes_back_from_a_checkpoint(name, tmp_path):
    _, _, state = run(name, hyper())
    with Checkpoints(tmp_path, 1, "loss", "min") as checkpoints:
        checkpoints.save(1, state, {})
        restored = checkpoints.restore(jax.eval_shape(lambda: state)).state
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


@functools.cache
def shapes_of(score):
    """A model, and the shapes of its parameters."""
    model = build({"architecture": "seq2seq", "vocab_size": V, "width": 12, "num_heads": 3, "score": score})
    params = jax.eval_shape(model.init, jax.random.key(0))
    return model, params


@pytest.mark.parametrize("score", ["bilinear", "additive"])
@each
def test_every_parameter_of_a_model_has_a_direction_of_its_shape(name, score):
    model, params = shapes_of(score)

    def move(params):
        transform = optimizer(OptimizerConfig(name=name), hyper(), model.parameter_axes(params))
        return transform.update(params, transform.init(params), params)[0]

    direction = jax.eval_shape(move, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), direction) == jax.tree.map(lambda x: (x.shape, x.dtype), params)


def directions(name: str, key: str, h: Hyperparameters) -> tuple[np.ndarray, np.ndarray]:
    """Gradients and directions of one parameter, step by step, in float64."""
    _, found, _ = run(name, h)
    return np.stack([np.asarray(tree_of(1 + i)[key], np.float64) for i in range(STEPS)]), np.asarray(found[key])


def sgd_by_hand(gradients, beta1, beta2):
    mean = 0.0
    for g in gradients:
        mean = beta1 * mean + g
        yield mean


def lion_by_hand(gradients, beta1, beta2):
    mean = 0.0
    for g in gradients:
        yield np.sign(beta1 * mean + (1 - beta1) * g)
        mean = beta2 * mean + (1 - beta2) * g


def adamw_by_hand(gradients, beta1, beta2):
    mean = square = 0.0
    for t, g in enumerate(gradients, start=1):
        mean, square = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g**2
        yield mean / (1 - beta1**t) / (np.sqrt(square / (1 - beta2**t)) + 1e-8)


def adafactor_by_hand(gradients, beta1, beta2):
    """Algorithm 4 of the paper, for one matrix or vector."""
    row = column = whole = 0.0
    for t, g in enumerate(gradients, start=1):
        beta = min(1 - t**-0.8, beta2)
        if g.ndim == 2:
            row = beta * row + (1 - beta) * (g**2).sum(1)
            column = beta * column + (1 - beta) * (g**2).sum(0)
            whole = np.outer(row, column) / row.sum()
        else:
            whole = beta * whole + (1 - beta) * g**2
        u = g / np.sqrt(whole)
        yield u / max(1.0, np.sqrt((u**2).mean()))


BY_HAND = {"sgd": sgd_by_hand, "lion": lion_by_hand, "adamw": adamw_by_hand, "adafactor": adafactor_by_hand}


@pytest.mark.parametrize("key", ["final", "table", "scale"])
@pytest.mark.parametrize("name", BY_HAND)
def test_directions_are_those_of_the_paper(name, key):
    gradients, found = directions(name, key, hyper(beta2=0.6))  # which Adafactor's own decay passes at the third step
    np.testing.assert_allclose(found, np.stack(list(BY_HAND[name](gradients, 0.9, 0.6))), rtol=2e-5, atol=1e-6)


def test_adafactor_takes_heads_as_one_axis():
    gradients, found = directions("adafactor", "query", hyper())
    for layer in range(L):
        matrices = [g[layer].reshape(D, N * H) for g in gradients]
        by_hand = np.stack(list(adafactor_by_hand(matrices, 0.9, 0.95)))
        np.testing.assert_allclose(found[:, layer].reshape(STEPS, D, N * H), by_hand, rtol=2e-5, atol=1e-6)


def test_adafactor_keeps_rows_and_columns_alone():
    big = {"query": jnp.zeros((L, 64, 8, 16)), "table": jnp.zeros((1000, 64))}
    axes = {key: AXES[key] for key in big}
    state = optimizer(OptimizerConfig(name="adafactor"), hyper(), axes).init(big)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers <= L * (64 + 8 * 16 + 2) + (1000 + 64 + 2)  # two for a count and a place that optax leaves empty


@pytest.mark.parametrize("key", MATRICES)
def test_muon_makes_each_layers_matrix_orthogonal_at_the_size_of_adamw(key):
    _, found = directions("muon", key, hyper())
    inputs = {"query": D, "output": N * H, "final": D}[key]
    layers = found.reshape(STEPS, L if AXES[key].stacked else 1, inputs, -1)
    singular = np.linalg.svd(layers, compute_uv=False) / (0.2 * np.sqrt(max(layers.shape[-2:])))
    assert singular.min() > 0.5  # five Newton-Schulz steps with Jordan's coefficients end between 0.7 and 1.2
    assert singular.max() < 1.25
    assert np.sqrt((layers**2).mean()) == pytest.approx(0.2, rel=0.3)


def test_muons_first_direction_is_the_nearest_orthogonal_matrix():
    gradients, found = directions("muon", "final", hyper())
    u, _, v = np.linalg.svd(gradients[0])
    assert (found[0] * (u @ v)).sum() / np.linalg.norm(found[0]) / np.sqrt(D) > 0.97


@pytest.mark.parametrize("key", [key for key in AXES if key not in MATRICES])
def test_muon_moves_tables_vectors_and_the_head_as_adamw_does(key):
    np.testing.assert_array_equal(*(directions(name, key, hyper())[1] for name in ("muon", "adamw")))


def test_adamw_with_clipping_follows_torch():
    """The golden steps hold gradients on both sides of the clip norm, and vectors that are not decayed."""
    golden = load("adamw")
    names = [name.removeprefix("initial.") for name in golden if name.startswith("initial.")]

    def tree(prefix: str, step: int | None = None) -> dict:
        nested: dict = {}
        for name in names:
            *path, last = name.split(".")
            inner = nested
            for part in path:
                inner = inner.setdefault(part, {})
            value = golden[f"{prefix}.{name}"]
            inner[last] = jnp.asarray(value if step is None else value[step])
        return nested

    config = OptimizerConfig(epsilon=float(golden["epsilon"]), clip_norm=float(golden["clip_norm"]))
    h = fixtures.hyper(**{name: float(golden[name]) for name in ("beta1", "beta2", "weight_decay")})
    params = tree("initial")
    transform = optimizer(config, h, parameter_axes(params))
    state = transform.init(params)
    for step, rate in enumerate(golden["learning_rate"]):
        direction, state = transform.update(tree("gradient", step), state, params)
        params = jax.tree.map(lambda p, d, r=rate: p - r * d, params, direction)
        # torch divides by the norm + 1e-6 as it clips, so a relative difference of 1e-6 is its own.
        close(params, tree("after", step), rtol=1e-5, atol=1e-6)
