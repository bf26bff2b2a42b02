"""Products with parameters, y = x W + b: the one place that decides how a platform gets its matrices.

The kernel's axes are inputs then outputs (D -> N H, N H -> D, D -> F ...). Everything is flattened to one matrix
product, in the type of x, accumulated in float32.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from transformer.axes import to_rank

FEW = 64
"""Most vectors that a CPU multiplies in less time as columns, W x^T, than as rows, x W^T."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel that is stored as outputs x inputs, which reads faster where few vectors are multiplied with it.

    Attributes:
        matrix: outputs x inputs, each of several axes flattened.
        shape: of the kernel, its inputs before its outputs.
    """

    matrix: Array
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def product(self, x_BD: Float[Array, "B D"]) -> Float[Array, "B E"]:
        """Compute x W in float32.

        On a CPU a few vectors are the columns of the right matrix. The barrier is there since XLA would turn the
        product round. With D 512 and F 2048 on 2 cores, 16 vectors then take 0.6 of the time, 64 of them 0.9.
        """
        matrix_ED = self.matrix.astype(x_BD.dtype)
        if x_BD.shape[0] > FEW or jax.default_backend() != "cpu":
            return jnp.matmul(x_BD, matrix_ED.T, preferred_element_type=jnp.float32)
        columns_EB = jnp.matmul(matrix_ED, x_BD.T, preferred_element_type=jnp.float32)
        return jax.lax.optimization_barrier(columns_EB).T


def linear(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."] | Kernel,
    bias: Float[Array, "..."] | None = None,
    *,
    inputs: int = 1,
) -> Float[Array, "..."]:
    """Contract the last `inputs` axes of x with the first `inputs` axes of the kernel, then add the bias.

    Returns:
        An array of x's type, with x's other axes and then the kernel's others.

    >>> linear(jnp.ones((2, 5, 12)), jnp.ones((12, 4, 3))).shape
    (2, 5, 4, 3)
    """
    outer, outputs = x.shape[: x.ndim - inputs], kernel.shape[inputs:]
    width = math.prod(kernel.shape[:inputs])
    flat = x.reshape(-1, width)
    if isinstance(kernel, Kernel):
        product = kernel.product(flat).astype(x.dtype)
    else:
        product = jnp.matmul(flat, kernel.astype(x.dtype).reshape(width, -1))
    y = product.reshape(*outer, *outputs)
    return y if bias is None else y + to_rank(bias.astype(x.dtype), y.ndim)


def embed(ids: Int[Array, "..."], table_VD: Float[Array, "V D"], dtype: DTypeLike) -> Float[Array, "... D"]:
    """Look up the rows of a table, in the compute type; ids beyond the table are clipped.

    >>> embed(jnp.array([[1, 2, 0]]), jnp.ones((7, 4)), jnp.float32).shape
    (1, 3, 4)
    """
    return jnp.take(table_VD, ids, axis=0, mode="clip").astype(dtype)


def unembed(x_BTD: Float[Array, "... D"], table_VD: Float[Array, "V D"]) -> Float[Array, "... V"]:
    """Compute logits from an embedding table (tied output), float32.

    >>> unembed(jnp.ones((2, 5, 4)), jnp.ones((7, 4))).shape
    (2, 5, 7)
    """
    return logits(x_BTD, Kernel(table_VD, table_VD.shape[::-1]))


def logits(x_BTD: Float[Array, "... D"], kernel_DV: Float[Array, "D V"] | Kernel) -> Float[Array, "... V"]:
    """Compute x W with a float32 result, whatever the compute type.

    >>> logits(jnp.ones((2, 5, 4)), jnp.ones((4, 7))).shape
    (2, 5, 7)
    """
    flat = x_BTD.reshape(-1, x_BTD.shape[-1])
    if isinstance(kernel_DV, Kernel):
        product = kernel_DV.product(flat)
    else:
        product = jnp.matmul(flat, kernel_DV.astype(x_BTD.dtype), preferred_element_type=jnp.float32)
    return product.reshape(*x_BTD.shape[:-1], kernel_DV.shape[1])


def orthonormal(x_DE: Float[Array, "D E"]) -> Float[Array, "D E"]:
    """Make the columns orthogonal and of length 1: the Q of x = Q R with diag R > 0.

    The columns must be linearly independent, so D at least E; else there is no such Q.
    Gram-Schmidt, twice for each column, since once is not enough in floating point (Giraud et al. 2005). LAPACK's QR in
    a program for a CPU may wait for ever: it hands work to the pool of threads that it runs in (JAX 0.10.2).

    >>> orthonormal(jnp.eye(4) + 1.0).shape
    (4, 4)
    """

    def one(i: Array, q_DE: Array) -> Array:
        column_D = q_DE[:, i]
        before_DE = jnp.where((jnp.arange(q_DE.shape[1], dtype=jnp.int32) < i)[None], q_DE, 0.0)
        for _ in range(2):
            column_D = column_D - before_DE @ (before_DE.T @ column_D)
        return q_DE.at[:, i].set(column_D / jnp.linalg.norm(column_D))

    return jax.lax.fori_loop(0, x_DE.shape[1], one, x_DE)
