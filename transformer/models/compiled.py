"""The compiled program of a call that is not part of another program.

A model's checks read the numbers of a batch, so they stand outside of any program; all that is computed runs in one,
which is compiled once for each shape and each tuple of captured names. Within `jax.jit`, `jax.grad`, `jax.vmap` and
`jax.disable_jit` a call adds its operations to the caller's, as if there were no program here.

Functions that replace activations may read what changes between two calls, so their program is compiled for one call
and goes with it. Arrays that replace are arguments of the program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.core import Tracer

from transformer.nn.intermediates import Request

Program = Callable[..., Any]
"""Function (call, params, inputs, arrays) -> what the module's method returns."""


class Call(NamedTuple):
    """The key of a program, beside shapes: what it is compiled for; hashable.

    Attributes:
        method: name of the module's method.
        request: the activations to capture and to replace; of arrays that replace, their names alone.
        static: arguments of the method behind the arrays.
    """

    method: str
    request: Request
    static: tuple[int | str, ...] = ()


def make_program(module: nn.Module) -> Program:
    """Return the program of a module, whose compiled forms are kept as long as it is."""

    def compute(call: Call, params: Any, inputs: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
        return _apply(module, call._replace(request=call.request.with_arrays(arrays)), params, inputs)

    return jax.jit(compute, static_argnums=0)


def run(module: nn.Module, program: Program, call: Call, params: Any, *inputs: Any) -> Any:
    """Call a method of a module: by its program, or as part of the caller's.

    Args:
        program: that of `make_program(module)`.
        call: the method, its request with the arrays, and its static arguments.
    """
    request = call.request
    if is_part_of_a_program(params, inputs, request.arrays):
        return _apply(module, call, params, inputs)
    if request.has_functions:  # not an argument of the program, since JAX keeps static arguments
        return jax.jit(lambda params, inputs: _apply(module, call, params, inputs))(params, inputs)
    return program(call._replace(request=request.without_arrays()), params, inputs, request.arrays)


def _apply(module: nn.Module, call: Call, params: Any, inputs: tuple[Any, ...]) -> Any:
    requesting = module if call.request == Request() else module.clone(request=call.request)
    return requesting.apply({"params": params}, *inputs, *call.static, method=call.method)


def is_part_of_a_program(*trees: Any) -> bool:
    """Check whether arrays are traced, or would be if they were made now."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((trees, jnp.zeros(()))))
