"""How much a program computes: floating-point operations of its matrix products, counted before it compiles.

    product of (batch, n, k) and (batch, k, m)      2 x batch x n x k x m

Everything else (softmax, norms, optimizer) is left out, as is usual; a `scan` counts as often as it runs. The count is
of shapes alone, the same on every platform.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations of `function` on arguments of these shapes (arrays, or jax.ShapeDtypeStruct)."""
    return _of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            total += _product(equation)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program):
            if _is_program(value):
                total += times * _of(getattr(value, "jaxpr", value))
    return total


def _is_program(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)


def _product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
