"""Weights from scores, against their equations in float64; 1.5-entmax by bisection."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import B, N, S, T, check_gradients, normal, query_key_value
from tests.ops.test_attend import MASKS, allowed_by
from transformer.errors import UserError
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.modifiers import Modifiers
from transformer.ops.weights import WEIGHTS, Weights, weights_by
from transformer.tables import register

weigh = jax.jit(weights_by, static_argnums=0)
OTHERS = [name for name in WEIGHTS if name != "softmax"]


def softmax(z):
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


def bisected(z):
    """1.5-entmax of one query: tau by halving the interval in which it lies."""
    low, high = z.max() / 2 - 1, z.max() / 2
    for _ in range(100):
        tau = (low + high) / 2
        low, high = (tau, high) if (np.maximum(z / 2 - tau, 0) ** 2).sum() > 1 else (low, tau)
    return np.maximum(z / 2 - low, 0) ** 2


EQUATIONS = {
    "softmax": softmax,
    "sigmoid": lambda z: np.exp(-np.logaddexp(0, np.log(len(z)) - z)),
    "relu": lambda z: np.maximum(z, 0) / len(z),
    "entmax": bisected,
}
"""Row -> the weights of one query from the scores of the keys that it may see."""


def expected(name, scores, allowed):
    weights = np.zeros(scores.shape)
    for row in np.ndindex(scores.shape[:3]):
        if allowed[row].any():
            weights[row][allowed[row]] = EQUATIONS[name](np.asarray(scores[row][allowed[row]], np.float64))
    return weights


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_their_equation_in_float64_and_exactly_zero_where_masked(name, scale):
    random = np.random.default_rng(3)
    scores = (random.normal(size=(2, 3, 7, 11)) * scale).astype(np.float32)
    allowed = random.random(scores.shape) < np.linspace(0, 1.2, 7)[:, None]
    weights = np.asarray(weigh(name, scores, allowed))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected(name, scores, allowed), rtol=2e-4, atol=2e-6)
    assert not weights[~allowed].any()
    assert (~allowed).all(-1).any()
    everything = np.ones_like(allowed)
    unmasked = weigh(name, scores, None)
    np.testing.assert_allclose(unmasked, expected(name, scores, everything), rtol=2e-4, atol=2e-6)


def test_entmax_is_sparse_and_sums_to_one_whatever_the_scores():
    wide, narrow = (np.asarray(normal(seed, 2, 3, 5, 12)) for seed in (0, 1))
    weights = np.asarray(weigh("entmax", np.concatenate([3 * wide, narrow, np.zeros_like(narrow)], axis=2), None))
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert (weights[:, :, :5] == 0).mean() > 0.5
    np.testing.assert_allclose(weights[:, :, 10:], 1 / 12, rtol=1e-5)


@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_of_weights_are_those_of_finite_differences_and_zero_where_masked(name):
    scores, weight = 2 * np.asarray(normal(0, 1, 2, T, S)), normal(1, 1, 2, T, S)
    allowed = jnp.array(allowed_by(MASKS["joined"])[:1, :2] & (np.arange(T) != 3)[:, None])

    def weighted(scores):
        return jnp.sum(weight * weights_by(name, scores, allowed))

    # Steps of finite differences do not cross the kink of relu, nor do a key's weights begin or end within them.
    check_gradients(weighted, np.where(np.abs(scores) < 0.03, np.float32(0.1), scores))
    gradient = jax.jit(jax.grad(weighted))
    for masked in (np.nan, np.inf, -np.inf, 1e30):
        slopes = np.asarray(gradient(np.where(allowed, scores, np.float32(masked))))
        np.testing.assert_allclose(slopes, gradient(scores), rtol=1e-6)
        assert np.isfinite(slopes).all()
        assert not slopes[~np.asarray(allowed)].any()


@pytest.mark.parametrize("name", OTHERS)
def test_attention_by_other_weights_is_its_equation_under_every_mask_and_never_fused(name):
    query, key, value = query_key_value()
    modifiers = Modifiers(weights=name)
    for mask in MASKS:
        scores = np.asarray(attention_scores(query, key), np.float64)
        weights = expected(name, scores, allowed_by(MASKS[mask]))
        found = attention_weights(query, key, mask=MASKS[mask], modifiers=modifiers)
        np.testing.assert_allclose(found, weights, rtol=1e-3, atol=1e-5)
    mixed = np.einsum("BNTS,BSNH->BTNH", weights, np.repeat(value, N // value.shape[2], 2))
    programs = []
    for kernels in ("plain", "fast"):
        attended = functools.partial(attend, mask=MASKS[mask], modifiers=modifiers, kernels=kernels)
        np.testing.assert_allclose(attended(query, key, value), mixed, rtol=1e-3, atol=1e-4)
        programs.append(str(jax.make_jaxpr(attended)(query, key, value)))
    assert programs[0] == programs[1]


def attention_scores(query, key):
    return np.einsum("BTNH,BSNH->BNTS", query, np.repeat(key, N // key.shape[2], 2)) / np.sqrt(query.shape[-1])


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_modifier_that_sets_scores_to_minus_infinity_masks(name):
    query, key, _ = query_key_value()

    def earlier(scores_BNTS, query_positions, key_positions):
        return jnp.where(key_positions <= query_positions, scores_BNTS, -jnp.inf)

    by_modifier = attention_weights(query, key, modifiers=Modifiers(function=earlier, weights=name))
    by_mask = attention_weights(query, key, mask=masks.causal(), modifiers=Modifiers(weights=name))
    np.testing.assert_allclose(by_modifier, by_mask, rtol=1e-5, atol=1e-7)


def test_two_maps_are_a_difference_of_the_weights_that_are_chosen():
    query, key, _ = map(np.asarray, query_key_value())
    half = query.shape[-1] // 2
    weights = jax.jit(functools.partial(attention_weights, modifiers=Modifiers(weights="entmax")))
    one, two = (np.asarray(weights(query[..., part], key[..., part])) for part in (np.s_[:half], np.s_[half:]))
    difference = Modifiers(weights="entmax", subtract=jnp.array(0.3))
    both = jax.jit(functools.partial(attention_weights, modifiers=difference))(query, key)
    np.testing.assert_allclose(both, one - 0.3 * two, rtol=1e-4, atol=1e-6)


def test_weights_of_somebodys_own_are_masked_for_them():
    def flat(scores_BNTS, allowed_BNTS):
        return jnp.ones_like(scores_BNTS)

    allowed = jnp.array(allowed_by(MASKS["padding"]))
    np.testing.assert_array_equal(weights_by(flat, normal(0, B, N, T, S), allowed), allowed)
    query, key, _ = query_key_value()
    given = attention_weights(query, key, modifiers=Modifiers(weights=Weights(flat)))
    np.testing.assert_array_equal(given, np.ones((B, N, T, S)))


@pytest.mark.parametrize("name", OTHERS)
def test_a_sink_is_of_the_softmax_alone(name):
    query, key, _ = query_key_value()
    with pytest.raises(UserError, match=r"attention sink is a key of the softmax; got weights '.*'; expected softmax"):
        attention_weights(query, key, modifiers=Modifiers(sink_N=jnp.zeros(N), weights=name))


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda scores: scores, r"takes other arguments; got \(scores\); expected a function of \(scores_BNTS, allow"),
        (lambda scores, allowed: scores[..., :1], r"has another key position axis \(S\); got 1"),
        (lambda scores, allowed: allowed, "is not an array of floats; got bool of shape"),
        (lambda scores, allowed: None, "is not an array of floats; got None"),
        (lambda scores, allowed: scores.no_such, "fails on a small example; got AttributeError"),
        (3, "bad' 3 is an int; expected a function"),
    ],
    ids=range(6),
)
def test_weights_that_cannot_be_used_are_refused_as_they_are_registered(function, error):
    with pytest.raises(UserError, match=f"weights '.*{error}"):
        register("weights", "bad", function)
