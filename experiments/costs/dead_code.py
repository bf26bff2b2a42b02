"""Dead-code elimination of a traced program: the equations on which its results depend, those of inner programs too.

An equation is kept if one of its results is read or if it has an effect. The inner program of a call (a jitted
function, a checkpoint, a custom derivative) loses what the caller does not read; that of a scan loses a carry which
neither the caller nor a later iteration reads. A while loop is kept whole.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


class Kept(NamedTuple):
    """An equation that is kept, and for each of its inner programs the equations that are kept of it."""

    equation: Any
    programs: list[list["Kept"]]


def kept_equations(program: Jaxpr, results_read: Sequence[bool]) -> tuple[list[Kept], list[bool]]:
    """Find the equations on which results depend.

    Args:
        program: a traced program.
        results_read: for each result of the program, whether it is read.

    Returns:
        The equations in their order, and for each argument of the program whether one of them reads it.
    """
    read = _variables(program.outvars, results_read)
    kept = []
    for equation in reversed(program.eqns):
        results = [variable in read for variable in equation.outvars]
        if any(results) or equation.effects:
            programs, arguments = _kept_inside(equation, results)
            kept.append(Kept(equation, programs))
            read |= _variables(equation.invars, arguments)
    return kept[::-1], [variable in read for variable in program.invars]


def _variables(values: Sequence[Any], read: Sequence[bool]) -> set[Any]:
    """Collect the values that are read and are no literals."""
    return {value for value, is_read in zip(values, read, strict=True) if is_read and not isinstance(value, Literal)}


def _kept_inside(equation: Any, results: list[bool]) -> tuple[list[list[Kept]], list[bool]]:
    """Find what is kept of an equation's inner programs, and which of its arguments are read."""
    programs = _inner_programs(equation)
    if equation.primitive.name == "scan":
        return _kept_of_scan(programs[0], results, equation.params["num_consts"], equation.params["num_carry"])
    if equation.primitive.name == "cond":
        branches = [kept_equations(program, results) for program in programs]
        arguments = [any(reads) for reads in zip(*(reads for _, reads in branches), strict=True)]
        return [kept for kept, _ in branches], [True, *arguments]  # the first one chooses the branch
    if len(programs) == 1 and _is_call(equation, programs[0]):
        kept, arguments = kept_equations(programs[0], results)
        return [kept], arguments
    whole = [kept_equations(program, [True] * len(program.outvars))[0] for program in programs]
    return whole, [True] * len(equation.invars)


def _kept_of_scan(body: Jaxpr, results: list[bool], consts: int, carries: int) -> tuple[list[list[Kept]], list[bool]]:
    """Find what is kept of a scan's body: a carry is read if the next iteration reads it, so search until none is new.

    The arguments of the body are the constants, the carries and the inputs; its results the carries and the outputs.
    """
    carry, outputs = results[:carries], results[carries:]
    while True:
        kept, arguments = kept_equations(body, [*carry, *outputs])
        first, middle, last = arguments[:consts], arguments[consts : consts + carries], arguments[consts + carries :]
        wanted = [before or now for before, now in zip(carry, middle, strict=True)]
        if wanted == carry:
            return [kept], [*first, *carry, *last]
        carry = wanted


def _inner_programs(equation: Any) -> list[Jaxpr]:
    """List the programs among an equation's parameters."""
    values = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
    return [getattr(value, "jaxpr", value) for value in values if _is_program(value)]


def _is_program(value: Any) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)


def _is_call(equation: Any, program: Jaxpr) -> bool:
    """Check that the program takes the equation's arguments and gives its results, one for one."""
    sizes = len(equation.invars), len(equation.outvars)
    return (len(program.invars), len(program.outvars)) == sizes
