import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.arrays import B, H, N, T, check_gradients, normal
from transformer.ops.positions import (
    QueryKeyPositions,
    alibi,
    buckets,
    relative,
    rotary,
    scaled_base,
    sinusoidal,
    slopes,
)
from transformer.ops.scores import dot

codes = jax.jit(sinusoidal, static_argnums=1)
product_of_turned = jax.jit(lambda query, at, key, key_at: dot(rotary(query, at), rotary(key, key_at)))


@pytest.mark.parametrize("width", [8, 14])
def test_the_sinusoidal_code_is_that_of_the_paper_up_to_the_order_of_columns(width):
    positions = np.array([0, 1, 2, 7, 101])
    paper = np.zeros((len(positions), width))
    for row, position in enumerate(positions):
        for i in range(width // 2):
            angle = position / 10_000 ** (2 * i / width)
            paper[row, 2 * i], paper[row, 2 * i + 1] = np.sin(angle), np.cos(angle)
    halves = np.concatenate([paper[:, 0::2], paper[:, 1::2]], axis=1)
    np.testing.assert_allclose(codes(positions, width), halves, atol=2e-5)


@given(st.lists(st.integers(0, 100_000), min_size=3, max_size=3), st.sampled_from([1, 2, 7, 12]))
def test_the_sinusoidal_code_stays_between_minus_one_and_one(positions, width):
    code = codes(np.array(positions), width)
    assert code.shape == (3, width)
    assert code.dtype == jnp.float32
    assert np.abs(code).max() <= 1.0


def test_two_positions_never_share_a_code():
    code = np.asarray(codes(np.arange(300), 12))
    distance = np.abs(code[:, None] - code[None]).max(axis=-1)
    assert distance[~np.eye(300, dtype=bool)].min() > 1e-3


def rotary_by_complex_numbers(x, positions):
    """x_i + i x_{i + H/2} times exp(i angle), float64."""
    half = x.shape[-1] // 2
    z = np.asarray(x, np.float64)[..., :half] + 1j * np.asarray(x, np.float64)[..., half:]
    z = z * np.exp(1j * np.asarray(positions)[..., None, None] / 10_000 ** (np.arange(half) / half))
    return np.concatenate([z.real, z.imag], axis=-1)


@pytest.mark.parametrize("positions", [jnp.arange(T), jnp.array([[0, 1, 2, 0, 1, 2, 3], [4, 3, 2, 1, 0, 9, 50]])])
def test_rotary_turns_pairs_by_their_angles(positions):
    x = normal(0, B, T, N, H)
    np.testing.assert_allclose(rotary(x, positions), rotary_by_complex_numbers(x, positions), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_the_product_of_rotated_queries_and_keys_depends_on_their_distance_alone(query_at, key_at, shift):
    query, key = normal(0, 1, 1, N, H), normal(1, 1, 1, N, H)

    def product(shift):
        return product_of_turned(query, np.array([query_at + shift]), key, np.array([key_at + shift]))

    np.testing.assert_allclose(product(shift), product(0), rtol=1e-3, atol=1e-3)


def test_the_product_of_rotated_queries_and_keys_does_depend_on_their_distance():
    query, key = normal(0, 1, 1, N, H), normal(1, 1, 1, N, H)
    near, far = (np.asarray(product_of_turned(query, np.array([5]), key, np.array([at]))) for at in (4, 2))
    assert np.abs(near - far).min() > 1e-4


def test_rotary_keeps_lengths_and_leaves_position_zero():
    x = normal(0, B, T, N, H)
    turned = np.asarray(rotary(x, jnp.arange(T)))
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    assert jax.eval_shape(rotary, x.astype(jnp.bfloat16), jnp.arange(T)).dtype == jnp.bfloat16


def test_gradients_of_rotary_are_those_of_finite_differences():
    check_gradients(lambda x: rotary(x, jnp.arange(T)), normal(0, 1, T, 2, H))


@pytest.mark.parametrize("base", [100.0, 1e6])
def test_the_base_sets_the_slowest_turn(base):
    x = jnp.array(np.eye(6, dtype=np.float32)[None, None, [2]])
    angle = 3 / base ** (2 / 3)
    turned = np.asarray(jax.jit(rotary)(x, jnp.array([3]), base))[0, 0, 0, [2, 5]]
    np.testing.assert_allclose(turned, [np.cos(angle), np.sin(angle)], 1e-4)


@pytest.mark.parametrize("scale", [1.0, 2.0, 8.0])
def test_a_scaled_base_slows_the_slowest_turn_by_the_scale_and_leaves_the_fastest(scale):
    base, half = scaled_base(10_000.0, scale, 12), 6
    rates = [base ** -(i / half) for i in range(half)]
    assert rates[0] == 1.0
    np.testing.assert_allclose(rates[-1], 10_000.0 ** -(5 / 6) / scale, rtol=1e-6)
    assert scaled_base(100.0, 1.0, 6) == 100.0


def test_the_slopes_are_those_of_the_paper_also_between_powers_of_two():
    np.testing.assert_allclose(slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    np.testing.assert_allclose(slopes(16)[::2], 2 ** -np.arange(0.5, 8))
    np.testing.assert_allclose(slopes(12)[:8], slopes(8))
    np.testing.assert_allclose(slopes(12)[8:], slopes(16)[:8:2])
    for heads in range(1, 40):
        assert len(set(slopes(heads))) == heads


POSITIONS = QueryKeyPositions(
    jnp.array([[4, 5, 6, 0, 1, 2, 3], [0, 1, 2, 3, 4, 9, 90]]), jnp.array([[0, 1, 2, 3, 30]] * 2)
)


def test_alibi_falls_with_the_distance_to_both_sides():
    bias = np.asarray(jax.jit(alibi, static_argnums=1)(POSITIONS, N))
    for b, n, t, s in np.ndindex(bias.shape):
        distance = abs(int(POSITIONS.query[b, t]) - int(POSITIONS.key[b, s]))
        np.testing.assert_allclose(bias[b, n, t, s], -slopes(N)[n] * distance, rtol=1e-6)


def bucket(distance, size, max_distance, causal):
    """T5's bucket of one distance, in whole numbers: far^k against boundaries^k, so that no logarithm rounds."""
    offset = 0
    if not causal:
        size //= 2
        offset = size if distance > 0 else 0
    far = max(-distance, 0) if causal else abs(distance)
    exact = size // 2
    if far < exact:
        return offset + far
    steps = size - exact
    # exact + floor(log(far / exact) / log(max / exact) steps): the largest i with (far/exact)^steps >= (max/exact)^i
    i = max(i for i in range(steps) if far**steps * exact**i >= max_distance**i * exact**steps)
    return offset + exact + i


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("size", "max_distance"), [(32, 128), (8, 32), (6, 50), (4, 4)])
def test_buckets_are_those_of_t5_in_whole_numbers(size, max_distance, causal):
    distances = np.arange(-150, 151)
    expected = [bucket(int(d), size, max_distance, causal) for d in distances]
    np.testing.assert_array_equal(buckets(jnp.array(distances), size, max_distance, causal=causal), expected)
    used = set(expected) - {size // 2} if not causal else set(expected)
    assert len(used) == (size if causal else size - 1)


@pytest.mark.parametrize("causal", [True, False])
def test_a_relative_bias_is_the_row_of_the_bucket(causal):
    table = np.asarray(normal(3, N, 8))
    bias = np.asarray(relative(POSITIONS, jnp.array(table), 32, causal=causal))
    for b, n, t, s in np.ndindex(bias.shape):
        distance = int(POSITIONS.key[b, s]) - int(POSITIONS.query[b, t])
        assert bias[b, n, t, s] == table[n, bucket(distance, 8, 32, causal)]
    assert math.prod(bias.shape) == 2 * N * 7 * 5
