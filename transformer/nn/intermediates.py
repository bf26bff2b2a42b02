"""The request to capture or replace activations, by their names (see `nn.names`).

What replaces an activation is a function of it, a function of it and the index of its layer, or an array: of the shape
that the function would be given, or with a leading L as it was captured.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jax import Array

from transformer.axes import describe, has_numbers
from transformer.errors import path_of, problem
from transformer.nn.names import LISTED, SITES, SPELLED, Name, parse_name
from transformer.small_example import signature_of

Replacing = Callable[..., Array] | Array | np.ndarray
"""Function of an activation, or of an activation and the index of its layer; or an array."""


@dataclasses.dataclass(frozen=True, eq=False)
class Replacement:
    """A function or an array to put in place of an activation; equal to itself alone, so that it can be hashed.

    Attributes:
        function: None where an array replaces.
        reads_layer: True for a function of the activation and the index of its layer.
        array: None where a function replaces.
    """

    function: Callable[..., Any] | None = None
    reads_layer: bool = False
    array: Array | np.ndarray | None = None


AN_ARRAY = Replacement()
"""An array that is yet to come."""


@dataclasses.dataclass(frozen=True)
class Request:
    """The activations to capture and to replace; hashable, so that it can be an attribute of a module."""

    capture: tuple[tuple[str, Name], ...] = ()
    replace: tuple[tuple[Name, Replacement], ...] = ()

    @property
    def names(self) -> list[Name]:
        """All names of the request."""
        return [name for _, name in self.capture] + [name for name, _ in self.replace]

    @property
    def has_functions(self) -> bool:
        """True if a function replaces an activation."""
        return any(own.function is not None for _, own in self.replace)

    @property
    def arrays(self) -> tuple[Array | np.ndarray, ...]:
        """The arrays that replace activations."""
        return tuple(own.array for _, own in self.replace if own.array is not None)

    def without_arrays(self) -> "Request":
        """Return the request with `AN_ARRAY` in place of its arrays: requests of the same names are then equal."""
        return self._with(lambda: AN_ARRAY)

    def with_arrays(self, arrays: Sequence[Array | np.ndarray]) -> "Request":
        """Return the request of `without_arrays` with these."""
        left = iter(arrays)
        return self._with(lambda: Replacement(array=next(left)))

    def _with(self, make: Callable[[], Replacement]) -> "Request":
        replace = tuple((name, make() if own.function is None else own) for name, own in self.replace)
        return dataclasses.replace(self, replace=replace)


def make_request(
    capture: Sequence[str] = (),
    replace: Mapping[str, Replacing] | None = None,
    sites: Mapping[str, str] = SITES,
) -> Request:
    """Make a Request from names.

    Args:
        sites: activations of a layer -> their axes.

    Raises:
        UserError: a name that does not follow the grammar, one string where a tuple of names is meant, or no dict of
            functions and arrays to replace by.
    """
    if isinstance(capture, str):
        do = f"Write capture=({capture!r},)."
        raise problem("capture takes a tuple of names", got=repr(capture), expected="a tuple", do=do)
    if not isinstance(capture, Iterable):
        expected = "names of activations"
        raise problem("capture takes a tuple of names", got=repr(capture), expected=expected, do=LISTED)
    replace = {} if replace is None else replace
    if not isinstance(replace, Mapping):
        got, expected = type(replace).__name__, "a dict from names of activations to functions or arrays"
        do = 'Write replace={"decoder.0.self.head.1": jnp.zeros_like}.'
        raise problem("replace takes functions and arrays by name", got=got, expected=expected, do=do)
    captured = tuple((text, parse_name(text, sites)) for text in capture)
    named = [(parse_name(text, sites), own) for text, own in replace.items()]
    return Request(captured, tuple((name, _replacement(name, own)) for name, own in named))


def _replacement(name: Name, own: Any) -> Replacement:
    """Return what replaces an activation. Raises UserError where it is neither an array nor a fitting function."""
    if not callable(own):
        if has_numbers(own) and np.ndim(own):
            return Replacement(array=own)
        got, expected = f"{describe(own)}, for '{name}'", "a function of the activation, or an array of its shape"
        do = "For zeros write jnp.zeros_like, for one number lambda x: jnp.full_like(x, number)."
        raise problem("replace takes functions and arrays", got=got, expected=expected, do=do)
    signature = signature_of(own)
    if signature is None:
        return Replacement(own)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [own for own in signature.parameters.values() if own.kind in positional and own.default is own.empty]
    try:
        signature.bind(*range(max(1, min(len(needed), 2))))
    except TypeError as error:
        what = f"the function {path_of(own)} that replaces '{name}' takes other arguments"
        raise problem(what, got=str(signature), expected="(activation) or (activation, layer)") from error
    if name.of_stack and len(needed) == 2:
        what = f"'{name}' is of a whole stack and has no layer"
        raise problem(what, got=f"a function of {signature}", expected="a function of the activation alone")
    return Replacement(own, reads_layer=len(needed) == 2)


def check(
    request: Request,
    stacks: Mapping[str, Mapping[str, int]],
    whole: Mapping[str, Sequence[str]],
    num_heads: int,
    num_kv_heads: int | None,
) -> None:
    """Raise a UserError if a model lacks an activation of the request.

    Args:
        stacks: stack -> the parts of its layers, "residual" and sublayers -> in how many of them, from the first on.
        whole: stack -> its activations of STACK_SITES.
        num_kv_heads: None in a model without attention.
    """
    for name in request.names:
        if name.stack not in stacks:
            what, expected = f"this model has no {name.stack}", "a name that begins with " + " or ".join(stacks)
            raise problem(what, got=f"'{name}'", expected=expected, do=LISTED)
        part, has = name.site.partition(".")[0], stacks[name.stack]
        if part not in (whole[name.stack] if name.of_stack else has):
            of_layers = [f"{name.stack}.*.{site}" for site in SITES if site.partition(".")[0] in has]
            of_stacks = [f"{stack}.{site}" for stack, sites in whole.items() for site in sites]
            there = ", ".join(of_stacks if name.of_stack else of_layers)
            what = f"the {name.stack} of this model has no {SPELLED[part]}"
            raise problem(what, got=name.site, expected=there and f"one of {there}", do=LISTED)
        if name.layer is not None and name.layer >= has[part]:
            lacking = f"this layer of the {name.stack} has no {SPELLED[part]}"
            what = lacking if name.layer < has["residual"] else f"no such layer in the {name.stack}"
            raise problem(what, got=name.layer, expected=f"0 to {has[part] - 1}, or *", do=LISTED)
        heads = num_kv_heads if "K" in name.all_axes.split() else num_heads
        if name.head is not None and heads is not None and name.head >= heads:
            expected = f"0 to {heads - 1}, or *"
            raise problem(f"no such head of {name.site}", got=name.head, expected=expected, do=LISTED)
    for name, own in request.replace:
        axes = len(name.axes.split())
        if own.array is not None and own.array.ndim == axes + 1 and not name.of_stack:
            layers = 1 if name.layer is not None else stacks[name.stack][name.site.partition(".")[0]]
            if own.array.shape[0] != layers:
                what = f"the array that replaces '{name}' has another layer axis (L)"
                raise problem(what, got=f"{len(own.array)} in shape {own.array.shape}", expected=layers)
