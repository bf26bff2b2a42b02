"""Norms with a derivative of their own are their equations, with gradients, in NumPy's float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import normal
from tests.fixtures.numpy_attention import far
from transformer.ops.norms import NORMS

EPSILON = 1e-3
CASES = {
    "layer": ("layer", ("scale", "bias")),
    "layer without a bias": ("layer", ("scale",)),
    "rms": ("rms", ("scale",)),
    "rms_plus_one": ("rms_plus_one", ("scale",)),
}
BOUNDS = {"float32": 2e-6, "bfloat16": 8e-3}
"""Type -> largest difference, relative to the largest entry; those seen are 4e-7, and 4e-3, one rounding."""


def numpy_norm(name, x, parameters, cotangent):
    """Return y, and the gradients of the sum of y times the cotangent: dx by the matrix of dy/dx of each row."""
    x, cotangent = np.asarray(x, np.float64), np.asarray(cotangent, np.float64)
    scale = np.asarray(parameters["scale"], np.float64) + (name == "rms_plus_one")
    D = x.shape[-1]
    centre = np.eye(D) - (1.0 / D if name == "layer" else 0.0)
    offset = x @ centre
    variance = (offset**2).mean(-1, keepdims=True) + EPSILON
    h = offset / np.sqrt(variance)
    # dh_i/doffset_j = (delta_ij - h_i h_j / D) / deviation
    slopes = (np.eye(D) - h[..., :, None] * h[..., None, :] / D) / np.sqrt(variance)[..., None]
    dx = np.einsum("...i,...ij,jk->...k", cotangent * scale, slopes, centre)
    gradients = {"x": dx, "scale": (cotangent * h).sum((0, 1)), "bias": cotangent.sum((0, 1))}
    return h * scale + np.asarray(parameters.get("bias", 0.0), np.float64), gradients


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("width", [13, 96])
@pytest.mark.parametrize("case", CASES)
def test_a_fast_norm_and_its_gradients_are_its_equation_in_float64(case, width, dtype):
    name, names = CASES[case]
    x = (normal(0, 3, 5, width) * 4 + 2).astype(dtype)
    arrays = {"x": x, **{part: normal(i + 1, width) for i, part in enumerate(names)}}
    cotangent = normal(5, 3, 5, width).astype(dtype)
    y, pull_back = jax.vjp(lambda arrays: NORMS[name].by("fast")(**arrays, epsilon=EPSILON), arrays)
    (found,) = pull_back(cotangent)
    expected, gradients = numpy_norm(name, x, arrays, cotangent)
    assert y.dtype == found["x"].dtype == x.dtype
    assert {found[part].dtype for part in names} == {jnp.dtype("float32")}
    assert far(y, expected) < BOUNDS[dtype]
    assert {part: far(found[part], gradients[part]) < BOUNDS[dtype] for part in arrays} == dict.fromkeys(arrays, True)


@pytest.mark.parametrize("case", CASES)
def test_a_constant_input_and_its_gradient_stay_finite(case):
    name, names = CASES[case]
    arrays = {"x": jnp.full((2, 13), 3.0), **{part: normal(i, 13) for i, part in enumerate(names)}}
    gradients = jax.grad(lambda arrays: jnp.sum(NORMS[name].by("fast")(**arrays, epsilon=1e-5) ** 2))(arrays)
    assert all(np.isfinite(x).all() for x in gradients.values())


def test_fast_and_fused_take_the_fast_norm_and_plain_the_definition():
    for row in NORMS.values():
        assert row.by("plain") is row.function
        assert row.by("fast") is row.by("fused") is row.fast is not row.function
