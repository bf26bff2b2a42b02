"""Roof of a machine: the most operations a second that products of matrices reach here, by type of number.

A product of two n x n matrices is 2 n^3 operations. The best of a few sizes and of some repetitions of each counts, so
that what others do on a shared machine lowers it least.
"""

import math
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

TYPES = ("float32", "bfloat16")
SIZES = {"cpu": (512, 1024, 2048), "gpu": (2048, 4096, 8192), "tpu": (2048, 4096, 8192)}
"""Platform -> sizes n of the products."""

SECONDS = 1.0
"""Time for the repetitions of one size; there are three at least."""


class Roof(NamedTuple):
    """The fastest product of a type.

    Attributes:
        speed: operations a second.
        size: n, of n x n matrices.
    """

    speed: float
    size: int


def roofs(sizes: tuple[int, ...] | None = None, seconds: float = SECONDS) -> dict[str, Roof]:
    """Measure the roof of each type.

    Args:
        sizes: of the products; None: those of the platform.
        seconds: time for the repetitions of one size.
    """
    sizes = sizes or SIZES.get(jax.default_backend(), SIZES["cpu"])
    return {dtype: max(Roof(_speed(n, dtype, seconds), n) for n in sizes) for dtype in TYPES}


def rows_of(found: dict[str, Roof]) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    return [
        {"roof": f"{dtype} product", "size": f"{roof.size} x {roof.size}", "GFLOP/s": roof.speed / 1e9}
        for dtype, roof in found.items()
    ]


def _speed(n: int, dtype: str, seconds: float) -> float:
    """Measure the operations a second of a product, the fastest of its repetitions."""
    x, y = (jax.random.normal(jax.random.key(i), (n, n), dtype) for i in (0, 1))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(x, y))
    best, began, count = math.inf, time.perf_counter(), 0
    while count < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        jax.block_until_ready(product(x, y))
        best, count = min(best, time.perf_counter() - start), count + 1
    return 2 * n**3 / best
