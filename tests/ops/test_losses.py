import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.arrays import check_gradients, normal
from transformer.ops.losses import cross_entropy, weighted_sum

B, T, V = 2, 3, 7
LOGITS, LABELS = jnp.array(np.asarray(normal(0, B, T, V)) * 3), jnp.array([[0, 3, 6], [5, 5, 1]])

crossed = jax.jit(cross_entropy)
summed = jax.jit(weighted_sum)
slope_of_sum = jax.jit(jax.grad(lambda values, weights: weighted_sum(values, weights)[0]))
slope_of_losses = jax.jit(jax.grad(lambda x, labels, weights: weighted_sum(cross_entropy(x, labels), weights)[0]))


def log_softmax(logits):
    wide = np.asarray(logits, np.float64)
    shifted = wide - wide.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@given(st.floats(0, 1, width=32), st.sampled_from([1.0, 50.0]))
def test_cross_entropy_is_that_with_the_smoothed_distribution(smoothing, scale):
    target = (1 - smoothing) * np.eye(V)[np.asarray(LABELS)] + smoothing / V
    logits = np.asarray(LOGITS) * np.float32(scale)
    expected = -(target * log_softmax(logits)).sum(-1)
    loss = crossed(logits, LABELS, np.float32(smoothing))
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-4)


def test_without_smoothing_cross_entropy_is_minus_the_log_probability_of_the_label():
    expected = -np.take_along_axis(log_softmax(LOGITS), np.asarray(LABELS)[..., None], -1)[..., 0]
    np.testing.assert_allclose(crossed(LOGITS, LABELS), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS, 0.0), expected, rtol=1e-5, atol=1e-5)


def test_no_smoothing_compiles_to_less_than_smoothing_of_zero():
    plain = str(jax.make_jaxpr(lambda x: cross_entropy(x, LABELS))(LOGITS))
    smoothed = str(jax.make_jaxpr(lambda x: cross_entropy(x, LABELS, jnp.array(0.0)))(LOGITS))
    assert len(plain) < len(smoothed)


def test_losses_are_float32_and_huge_logits_do_not_overflow():
    loss = crossed((np.asarray(LOGITS) * 1000).astype(jnp.bfloat16), LABELS)
    assert loss.dtype == jnp.float32
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_tokens_of_weight_zero_contribute_exactly_nothing_whatever_their_loss(bad):
    values, weights = np.asarray(normal(1, B, T)), np.float32([[1.0, 0.0, 0.5], [0.0, 2.0, 1.0]])
    spoilt = np.where(weights == 0, np.float32(bad), values)
    total, weight = summed(spoilt, weights)
    np.testing.assert_allclose(total, (values * weights).sum(), rtol=1e-6)
    np.testing.assert_array_equal(summed(np.where(weights == 0, np.float32(0), values), weights)[0], total)
    assert weight == 4.5
    slope = slope_of_sum(spoilt, weights)
    np.testing.assert_array_equal(slope, weights)


def test_an_impossible_label_of_weight_zero_gives_exactly_zero_gradient():
    weights = np.float32([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    logits = np.array(LOGITS)
    logits[0, 1, LABELS[0, 1]] = -np.inf
    slope = np.asarray(slope_of_losses(logits, LABELS, weights))
    assert np.isfinite(slope).all()
    assert not slope[0, 1].any()
    assert slope[0, 0].any()


def test_parts_of_a_batch_add_up():
    values, weights = np.asarray(normal(1, B, T)), np.abs(normal(2, B, T))
    parts = [summed(values[b : b + 1], weights[b : b + 1]) for b in range(B)]
    np.testing.assert_allclose(np.sum(parts, axis=0), summed(values, weights), rtol=1e-5)


def test_an_empty_batch_sums_to_zero():
    assert weighted_sum(jnp.zeros((0, T)), jnp.zeros((0, T))) == (0.0, 0.0)


@pytest.mark.parametrize("smoothing", [None, 0.3])
def test_gradients_of_losses_are_those_of_finite_differences(smoothing):
    check_gradients(lambda x: cross_entropy(x, LABELS, smoothing), LOGITS)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "uint32"])
def test_a_label_outside_of_the_vocabulary_has_nan_and_no_gradient(dtype):
    wide = normal(1, B, 300)
    labels = jnp.array([5, 120], dtype)
    np.testing.assert_allclose(crossed(wide, labels), -log_softmax(wide)[[0, 1], [5, 120]], rtol=1e-5)
    beyond = [127] if dtype == "int8" else [99]
    beyond += [-1, -100] if dtype.startswith("int") else [np.iinfo(dtype).max]
    for label in beyond:
        labels = jnp.array([5, label], dtype)
        losses = crossed(wide[:, :50], labels)
        assert np.isnan(losses).tolist() == [False, True]
        slope = np.asarray(slope_of_losses(wide[:, :50], labels, np.float32([1.0, 0.0])))
        assert np.isfinite(slope).all()
        assert not slope[1].any()
