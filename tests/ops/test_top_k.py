"""The k largest in two steps are those of one step, ties included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from transformer.ops.top_k import top_k


@pytest.mark.parametrize("kind", ["distinct", "ties", "-inf"])
def test_top_k_is_that_of_jax(kind):
    x_BC = np.random.default_rng(1).normal(size=(3, 4100)).astype(np.float32)
    if kind == "ties":
        x_BC = np.round(x_BC)
    if kind == "-inf":
        x_BC[:, 5:4000] = -np.inf
    for k in (1, 7):
        for found, expected in zip(top_k(jnp.asarray(x_BC), k), jax.lax.top_k(x_BC, k), strict=True):
            np.testing.assert_array_equal(found, expected)
