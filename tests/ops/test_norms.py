import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import check_gradients, normal
from transformer.ops.norms import NORMS, layer_norm, rms_norm, rms_norm_plus_one

D = 13
X, SCALE, BIAS = normal(0, 3, 5, D) * 4 + 2, normal(1, D), normal(2, D)


def test_layer_norm_is_its_equation_in_float64():
    x = np.asarray(X, np.float64)
    centred = x - x.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * np.asarray(SCALE)
    np.testing.assert_allclose(layer_norm(X, SCALE), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer_norm(X, SCALE, BIAS), expected + np.asarray(BIAS), rtol=1e-4, atol=1e-5)


def test_rms_norm_is_its_equation_in_float64():
    x = np.asarray(X, np.float64)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * np.asarray(SCALE)
    np.testing.assert_allclose(rms_norm(X, SCALE), expected, rtol=1e-4, atol=1e-5)


def test_the_rms_norm_plus_one_is_its_equation_in_float64():
    x = np.asarray(X, np.float64)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * (1 + np.asarray(SCALE, np.float64))
    np.testing.assert_allclose(rms_norm_plus_one(X, SCALE), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_has_float32_statistics_and_the_type_of_its_input(name):
    function, parameters = NORMS[name].function, NORMS[name].parameters
    narrow = (X + 100).astype(jnp.bfloat16)
    values = {"scale": SCALE, "bias": BIAS}
    result = function(narrow, **{p: values[p] for p in parameters})
    wide = function(narrow.astype(jnp.float32), **{p: values[p] for p in parameters})
    assert result.dtype == jnp.bfloat16
    np.testing.assert_array_equal(result, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("name", NORMS)
def test_a_constant_input_stays_finite(name):
    function, parameters = NORMS[name].function, NORMS[name].parameters
    values = {"scale": SCALE, "bias": BIAS}
    assert np.isfinite(function(jnp.zeros((2, D)), **{p: values[p] for p in parameters})).all()


@pytest.mark.parametrize("name", NORMS)
def test_gradients_of_norms_are_those_of_finite_differences(name):
    function, parameters = NORMS[name].function, NORMS[name].parameters
    check_gradients(function, normal(3, 2, D), *[{"scale": SCALE, "bias": BIAS}[p] for p in parameters])
