import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import B, G, H, K, N, S, T, normal, query_key_value, score_parameters
from tests.fixtures.commands import error_of
from transformer import schema
from transformer.errors import UserError
from transformer.ops import masks, scores
from transformer.ops.attend import attend, attention_weights
from transformer.ops.positions import QueryKeyPositions
from transformer.ops.scores import SCORES, Score
from transformer.ops.scoring import raw_scores

NUMPY = {
    "dot": lambda q, k: q @ k,
    "scaled_dot": lambda q, k: q @ k / np.sqrt(len(q)),
    "fixed_dot": lambda q, k: q @ k / np.sqrt(64),
    "bilinear": lambda q, k, matrix: q @ matrix @ k,
    "additive": lambda q, k, vector: vector @ np.tanh(q + k),
    "cosine": lambda q, k, scale: scale * np.sqrt(len(q)) * q @ k / np.sqrt((q @ q) * (k @ k)),
    # Four buckets to each side: 0, 1, then from 2 and from 8 (2 x 16^(1/2)).
    "position_only": lambda t, s, table: table[(4 if s > t else 0) + sum(abs(s - t) >= low for low in (1, 2, 8))],
}
"""Score of one query and one key, or of their positions."""


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_its_equation_in_float64(name):
    query, key, _ = query_key_value()
    parameters = score_parameters(name)
    wide = {n: np.asarray(x, np.float64) for n, x in parameters.items()}
    q, k = np.asarray(query, np.float64), np.asarray(key, np.float64)
    expected = np.zeros((B, N, T, S))
    for b, n, t, s in np.ndindex(expected.shape):
        one = {name: value[n] for name, value in wide.items()}
        pair = (q[b, t, n], k[b, s, n // G]) if SCORES[name].reads_content else (t, s)
        expected[b, n, t, s] = NUMPY[name](*pair, **one)
    np.testing.assert_allclose(raw_scores(query, key, name, parameters), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", SCORES)
def test_grouped_heads_are_repeated_heads(name):
    query, key, value = query_key_value()
    parameters = score_parameters(name)
    grouped = attend(query, key, value, score=name, parameters=parameters)
    key, value = jnp.repeat(key, G, axis=2), jnp.repeat(value, G, axis=2)
    repeated = attend(query, key, value, score=name, parameters=parameters)
    np.testing.assert_allclose(grouped, repeated, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_float32_whatever_the_inputs(name):
    query, key, _ = (x.astype(jnp.bfloat16) for x in query_key_value())
    narrow = raw_scores(query, key, name, score_parameters(name))
    wide = raw_scores(query.astype(jnp.float32), key.astype(jnp.float32), name, score_parameters(name))
    assert narrow.dtype == jnp.float32
    np.testing.assert_allclose(narrow, wide, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", SCORES)
def test_a_row_declares_the_factor_on_the_dot_product_only_if_that_is_all_it_is(name):
    scale = SCORES[name].dot_scale
    query, key, _ = query_key_value(heads=K)
    if scale is None:
        assert SCORES[name].parameters
    else:
        expected = scale(H, **SCORES[name].own) * scores.dot(query, key)
        np.testing.assert_allclose(raw_scores(query, key, name), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernels", ["plain", "fast"])
def test_the_fixed_dot_product_is_divided_by_the_width_that_is_set_whatever_that_of_a_head(kernels):
    query, key, value = query_key_value()
    row = dataclasses.replace(SCORES["fixed_dot"], settings=scores.FixedWidth(2.5))
    expected = attend(query * np.sqrt(H / 2.5), key, value)
    np.testing.assert_allclose(attend(query, key, value, score=row, kernels=kernels), expected, rtol=1e-4, atol=1e-5)
    assert "width is out of range; got 0.0" in error_of(schema.from_dict, scores.FixedWidth, {"width": 0})


def test_learned_scores_start_with_the_spread_of_the_scaled_dot_product():
    query, key = normal(0, 40, 3, K, H), normal(1, 40, 4, K, H)
    matrix = SCORES["bilinear"].parameters["matrix"].start(jax.random.key(0), (K, H, H))
    spread = np.std(scores.bilinear(query, key, matrix)), np.std(scores.scaled_dot(query, key))
    np.testing.assert_allclose(spread[0], spread[1], rtol=0.4)


def test_the_cosine_does_not_depend_on_lengths_and_is_zero_with_finite_gradients_at_zero_vectors():
    query, key, value = query_key_value()
    scale = {"scale": 1 + normal(4, N)}
    run = jax.jit(lambda q, k: raw_scores(q, k, "cosine", scale))
    longer = normal(5, B, T, 1, 1) ** 2 + 0.5
    np.testing.assert_allclose(run(query * longer, key / 3), run(query, key), rtol=1e-4, atol=1e-5)
    none = query.at[:, 2].set(0.0), key.at[:, 1].set(0.0)
    assert not np.asarray(run(*none)[:, :, 2]).any()
    assert not np.asarray(run(*none)[..., 1]).any()
    assert np.asarray(run(*none)[:, :, 0, 0]).all()

    def loss(query, key):
        return jnp.sum(attend(query, key, value, score="cosine", parameters=scale) ** 2)

    for slope in jax.jit(jax.grad(loss, (0, 1)))(*none):
        assert np.isfinite(slope).all()
        assert np.abs(slope).max() < 1e5


def test_a_score_of_positions_alone_ignores_content_and_follows_the_places_it_is_given():
    query, key, _ = query_key_value()
    parameters = score_parameters("position_only")
    whole = raw_scores(query, key, "position_only", parameters)
    np.testing.assert_array_equal(raw_scores(query * 2 + 1, -key, "position_only", parameters), whole)
    assert (np.ptp(whole[:, :, :6], axis=-1) > 0.1).all()
    moved = QueryKeyPositions(jnp.array([[3], [5]]), jnp.array([[1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]))
    part = raw_scores(query[:, :1], key, "position_only", parameters, moved)
    np.testing.assert_array_equal(part[0, :, 0, 2], whole[0, :, 3, 3])
    np.testing.assert_array_equal(part[1, :, 0], whole[1, :, 5])
    weights = functools.partial(attention_weights, score="position_only", parameters=parameters, mask=masks.causal())
    at, full = weights(query[:, 4:6], key, query_index=jnp.array([4, 5])), weights(query, key)
    np.testing.assert_allclose(at, full[:, :, 4:6], rtol=1e-6)


def cosine(query_BTNH, key_BSNH):
    """A score of somebody's own."""
    query_BTNH, key_BSNH = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (query_BTNH, key_BSNH))
    return jnp.einsum("BTNH,BSNH->BNTS", query_BTNH, key_BSNH)


def transposed(query_BTNH, key_BSNH):
    """Gives B N S T by mistake."""
    return jnp.swapaxes(cosine(query_BTNH, key_BSNH), 2, 3)


not_a_function = 3


@pytest.mark.parametrize("kv_heads", [K, N])
def test_a_score_of_the_users_own_is_a_function_a_row_or_a_dotted_path(kv_heads):
    query, key, _ = query_key_value(kv_heads=kv_heads)
    q, k = np.asarray(query), np.repeat(np.asarray(key), N // kv_heads, axis=2)
    expected = np.einsum("BTNH,BSNH->BNTS", q, k) / np.einsum(
        "BTN,BSN->BNTS", np.linalg.norm(q, axis=-1), np.linalg.norm(k, axis=-1)
    )
    for score in (cosine, Score(cosine), "tests.ops.test_scores:cosine"):
        np.testing.assert_allclose(raw_scores(query, key, score), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernels", ["plain", "fast"])
def test_weights_of_a_score_of_the_users_own_are_used_by_attend(kernels):
    query, key, value = query_key_value()
    weights = attention_weights(query, key, score=cosine)
    mixed = np.einsum("BNTS,BSNH->BTNH", weights, np.repeat(np.asarray(value), G, axis=2))
    np.testing.assert_allclose(attend(query, key, value, score=cosine, kernels=kernels), mixed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kv_heads", [K, N])
def test_a_score_of_another_shape_is_named(kv_heads):
    query, key, _ = query_key_value(kv_heads=kv_heads)
    with pytest.raises(UserError, match=r"transposed.*gave something else.*expected floats of shape B N T S"):
        raw_scores(query, key, transposed)


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ("scaled_dt", "Did you mean 'scaled_dot'"),
        ("no.such.module:cosine", "cannot be imported"),
        ("tests.ops.test_scores:kosine", "cannot be imported"),
        (
            "my_lab/scores.py:cosine",
            r"cannot be imported.*Write my_lab\.scores:cosine, with the folder that holds my_lab",
        ),
        (
            "scores.py:cosine",
            r"cannot be imported.*Write scores:cosine, with the folder that holds scores\.py in PYTHO",
        ),
        (f"{Path(__file__)}:cosine", r"Write tests\.ops\.test_scores:cosine, with the folder that holds tests in"),
        ("tests.ops.test_scores:not_a_function", "is an int"),
    ],
)
def test_a_score_that_cannot_be_found_says_why(score, says):
    with pytest.raises(UserError, match=says):
        scores.find(score)
