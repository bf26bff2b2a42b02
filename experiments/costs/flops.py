"""Operations of a program, counted before it compiles: those of its matrix products, and all of them.

    product of (batch, n, k) and (batch, k, m)      2 x batch x n x k x m
    sum of n numbers                                n - 1
    x + y, where(c, x, y), x.astype(...)            1 for each number of the result
    exp, log, tanh, ...                             one transcendental each, and no operation

These are the rules of XLA's own cost analysis, HloCostAnalysis, so that both can be compared; but a `scan` counts as
often as it runs, where XLA counts its body once. `products` alone is what papers report (Kaplan et al. 2020,
https://arxiv.org/abs/2001.08361, appendix B). The counts depend on shapes alone, not on the platform.

By component: an equation belongs to the module that computes it, forward and backward.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from experiments.costs.components import component
from experiments.costs.dead_code import Kept, kept_equations


class Count(NamedTuple):
    """Numbers of operations of matrix products, of all operations (products included), and of transcendentals."""

    products: int = 0
    all: int = 0
    transcendentals: int = 0

    def plus(self, other: "Count", times: int = 1) -> "Count":
        """Add `times` the other count."""
        return Count(*(a + times * b for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass(frozen=True)
class Operations:
    """Operation counts of a program, by component; a program of R lanes counts all of them.

    Attributes:
        by_component: component -> count.
        forms: component of attention -> the forms that compute it, in their order; see `transformer.ops.kernels`.
    """

    by_component: Mapping[str, Count]
    forms: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def total(self) -> Count:
        """The sum over components."""
        total = Count()
        for count in self.by_component.values():
            total = total.plus(count)
        return total


def operations(function: Callable[..., Any], *arguments: Any) -> Operations:
    """Count the operations of `function` on arguments of these shapes (arrays, or jax.ShapeDtypeStruct)."""
    found: dict[str, Count] = collections.defaultdict(Count)
    forms: dict[str, dict[str, None]] = collections.defaultdict(dict)
    program = jax.make_jaxpr(function)(*arguments).jaxpr
    kept, _ = kept_equations(program, [True] * len(program.outvars))
    for names, count in _counts(kept, ""):
        where = component(names)
        found[where] = found[where].plus(count)
        if form := _FORM.search(names):
            forms[where][form[1]] = None
    return Operations(dict(found), {where: tuple(names) for where, names in forms.items()})


_FORM = re.compile(r"\battend_(\w+)")
"""Name that `ops.attend.attend` gives to its operations."""


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """Count the operations of the matrix products of `function`, as `operations` does."""
    return operations(function, *arguments).total.products


def _counts(kept: Iterable[Kept], outer: str) -> Iterator[tuple[str, Count]]:
    """Yield the path of names and the count of every equation, those of inner programs too."""
    for equation, programs in kept:
        names = f"{outer}/{equation.source_info.name_stack}"
        name = equation.primitive.name
        if name in RULES:
            yield names, RULES[name](equation)
        elif name == "cond":
            yield from max((list(_counts(program, names)) for program in programs), key=_all)
        elif programs:
            times = equation.params["length"] if name == "scan" else 1
            for program in programs:
                yield from ((path, Count().plus(one, times)) for path, one in _counts(program, names))
        else:
            yield names, Count(all=_results(equation))


def _all(counts: list[tuple[str, Count]]) -> int:
    return sum(count.all for _, count in counts)


def _results(equation: Any) -> int:
    """Count the numbers of an equation's result; 0 for one that only has an effect, such as a print."""
    return math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0


def _product(equation: Any) -> Count:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    terms = 2 * _results(equation) * math.prod(left[axis] for axis in contracted)
    return Count(terms, terms)


def _reduction(each: int) -> Callable[[Any], Count]:
    """Build a rule: `each` operations for every number that is combined with another."""
    return lambda equation: Count(all=each * (math.prod(equation.invars[0].aval.shape) - _results(equation)))


def _transcendental(operations: int) -> Callable[[Any], Count]:
    return lambda equation: Count(all=operations * _results(equation), transcendentals=_results(equation))


def _power(equation: Any) -> Count:
    """Count x^n by squaring; 1 / x^n for a negative n."""
    n = equation.params["y"]
    each = max(abs(n).bit_length() - 1, 0) + max(abs(n).bit_count() - 1, 0) + (n < 0)
    return Count(all=each * _results(equation))


def _updates(equation: Any) -> Count:
    return Count(all=math.prod(equation.invars[2].aval.shape))


def _bits(equation: Any) -> Count:
    """Count Threefry: 20 rounds of 5, 6 injections of the key, and the index of each number along each axis."""
    return Count(all=_results(equation) * (119 + 2 * equation.outvars[0].aval.ndim))


def _keys(equation: Any) -> Count:
    return Count(all=118 * _results(equation))


MOVES = (
    "bitcast_convert_type",
    "broadcast",
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "copy_p",
    "device_put",
    "dynamic_slice",
    "dynamic_update_slice",
    "empty",
    "expand_dims",
    "gather",
    "iota",
    "optimization_barrier",
    "pad",
    "random_seed",
    "random_unwrap",
    "random_wrap",
    "reshape",
    "rev",
    "scatter",
    "slice",
    "split",
    "squeeze",
    "stop_gradient",
    "transpose",
)
"""Primitives that only move numbers: no operations."""
FUNCTIONS = (
    "atan2",
    "cbrt",
    "cos",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "pow",
    "rsqrt",
    "sin",
    "sqrt",
    "tan",
    "tanh",
)
"""Primitives that are one transcendental."""

RULES: dict[str, Callable[[Any], Count]] = {
    "dot_general": _product,
    "integer_pow": _power,
    "random_bits": _bits,
    "random_fold_in": _keys,
    "random_split": _keys,
    "erfc": _transcendental(62),
    "logistic": _transcendental(3),
    "exp2": _transcendental(1),
    "scatter-add": _updates,
    "scatter-mul": _updates,
    "scatter_add": _updates,
    "scatter_mul": _updates,
    "argmax": _reduction(9),
    "argmin": _reduction(9),
    **{f"reduce_{name}": _reduction(1) for name in ("sum", "max", "min", "prod", "and", "or", "xor")},
    **{name: _transcendental(0) for name in FUNCTIONS},
    **{name: lambda equation: Count() for name in MOVES},
}
"""Primitive -> its count; any other counts as its inner programs, or 1 operation for each number of its result."""
