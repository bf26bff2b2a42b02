import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import check_gradients, normal
from transformer.ops import cache
from transformer.ops.linear import Kernel, embed, linear, logits, orthonormal, unembed

X = normal(0, 2, 3, 5, 7)


@pytest.mark.parametrize(
    ("inputs", "kernel", "equation"),
    [(1, (7, 4, 6), "abch,hne->abcne"), (1, (7, 11), "abch,he->abce"), (2, (5, 7, 11), "abnh,nhd->abd")],
)
def test_linear_contracts_the_last_axes_with_the_first_ones_of_the_kernel(inputs, kernel, equation):
    matrix, bias = normal(1, *kernel), normal(2, *kernel[inputs:])
    expected = np.einsum(equation, np.asarray(X, np.float64), np.asarray(matrix, np.float64))
    np.testing.assert_allclose(linear(X, matrix, inputs=inputs), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear(X, matrix, bias, inputs=inputs), expected + bias, rtol=1e-4, atol=1e-5)


def test_linear_computes_in_the_type_of_its_input_and_logits_are_float32():
    narrow, matrix = X.astype(jnp.bfloat16), normal(1, 7, 11)
    assert linear(narrow, matrix).dtype == jnp.bfloat16
    assert logits(narrow, matrix).dtype == jnp.float32
    np.testing.assert_allclose(logits(narrow, matrix), logits(X, matrix), rtol=0.1, atol=0.1)


def test_embeddings_are_rows_and_tied_logits_are_products_with_them():
    table, ids = normal(3, 11, 7), jnp.array([[3, 0], [10, 3]])
    rows = embed(ids, table, jnp.dtype("float32"))
    np.testing.assert_array_equal(rows, np.asarray(table)[np.asarray(ids)])
    np.testing.assert_allclose(unembed(rows, table), np.asarray(rows) @ np.asarray(table).T, rtol=1e-4, atol=1e-5)


def test_gradients_of_linear_are_those_of_finite_differences():
    check_gradients(lambda x, w, b: linear(x, w, b, inputs=2), normal(4, 2, 3, 5), normal(5, 3, 5, 4), normal(6, 4))


def test_the_cache_is_written_where_each_example_stands():
    slots, new = normal(7, 2, 3, 9, 5), normal(8, 2, 2, 3, 5)
    expected = np.array(slots)
    expected[0, :, 4:6], expected[1, :, 1:3] = np.swapaxes(new, 1, 2)
    np.testing.assert_array_equal(cache.write(slots, new, jnp.array([4, 1])), expected)


def test_an_empty_cache_is_zero():
    made = cache.empty(2, 9, 3, 5, jnp.dtype("bfloat16"))
    assert {name: (x.shape, x.dtype) for name, x in made.items()} == dict.fromkeys(
        ("key", "value"), ((2, 3, 9, 5), jnp.dtype("bfloat16"))
    )
    assert not any(np.asarray(x, np.float32).any() for x in made.values())


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (9, 4), (40, 40)])
def test_orthonormal_columns_are_those_of_qr(shape):
    x = normal(3, *shape)
    q, r = np.linalg.qr(np.asarray(x, np.float64))
    np.testing.assert_allclose(orthonormal(x), q * np.sign(np.diag(r)), atol=2e-5)


def test_columns_that_are_nearly_alike_become_orthogonal_too():
    """Hilbert's matrix, in which once through is not enough."""
    size = 6
    x = 1.0 / (1.0 + jnp.arange(size)[:, None] + jnp.arange(size))
    q = np.asarray(orthonormal(x), np.float64)
    np.testing.assert_allclose(q.T @ q, np.eye(size), atol=1e-5)


def test_orthonormal_calls_no_lapack_whose_threads_may_wait_for_each_other():
    assert "custom_call" not in jax.jit(jax.vmap(orthonormal)).lower(normal(0, 3, 4, 4)).as_text()
    assert "custom_call" in jax.jit(jnp.linalg.qr).lower(normal(0, 4, 4)).as_text()


@pytest.mark.parametrize("rows", [1, 5, 70])
def test_a_kernel_that_is_stored_as_outputs_by_inputs_gives_the_same_product(rows):
    x, kernel, bias = normal(1, rows, 3, 4), normal(2, 3, 4, 6, 2), normal(3, 6, 2)
    stored = Kernel(kernel.reshape(12, 12).T, kernel.shape)
    expected = np.einsum("bnh,nhij->bij", *(np.asarray(a, np.float64) for a in (x, kernel))) + np.asarray(bias)
    np.testing.assert_allclose(linear(x, stored, bias, inputs=2), expected, rtol=1e-5, atol=1e-5)
