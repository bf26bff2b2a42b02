"""The recorder, which captures and replaces the activations that a request names."""

import copy
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from transformer.axes import describe
from transformer.errors import problem
from transformer.nn.intermediates import Replacement, Request
from transformer.nn.names import Name


class Recorder:
    """The recorder of a block or a stack, which carries out a request: `x = recorder.record("query", x)`.

    It is made where these are called and discarded there; `captured` is a result of theirs.

    Args:
        request: the activations to capture and to replace.
        stack: "encoder" or "decoder".
        layer: index of the block in its stack; None: the activations of the whole stack.
        prefix: beginning of the sites that `record` is given, such as "self.".
        step: index of the one target position that is recorded, and their number T; None: all are.
    """

    def __init__(
        self,
        request: Request,
        stack: str,
        layer: Array | int | None = None,
        *,
        prefix: str = "",
        step: tuple[Array, int] | None = None,
    ):
        self._captures = [(text, name) for text, name in request.capture if name.stack == stack]
        self._replacements = [(name, function) for name, function in request.replace if name.stack == stack]
        self.stack = stack
        self._layer = layer
        self._prefix = prefix
        self._step = step
        self.captured: dict[str, Array] = {}

    def sublayer(self, name: str) -> "Recorder":
        """Return the recorder of a sublayer: its sites begin with the name, and it captures into the same dict."""
        part = copy.copy(self)
        part._prefix = f"{self._prefix}{name}."
        return part

    @property
    def needs_weights(self) -> bool:
        """True if scores or weights of this sublayer are requested, which only the plain path computes."""
        names = [name for _, name in self._captures] + [name for name, _ in self._replacements]
        return any(name.needs_weights and name.site.startswith(self._prefix) for name in names)

    def record(self, site: str, x: Array) -> Array:
        """Replace an activation, then capture it, where the request names it; return what the block goes on with.

        Args:
            site: the name within the sublayer, such as "query".
        """
        site = self._prefix + site
        for name, function in self._replacements:
            if name.site == site:
                x = self._replace(x, name, function)
        for text, name in self._captures:
            if name.site == site:
                self.captured[text] = _part(x, name)
        return x

    def _replace(self, x: Array, name: Name, own: Replacement) -> Array:
        part = _part(x, name)
        if own.function is None:
            new = self._array(part, name, own.array)
        elif own.reads_layer:
            new = own.function(part, jnp.asarray(self._layer, jnp.int32))
        else:
            new = own.function(part)
        try:
            array = jnp.asarray(new)
        except (TypeError, ValueError) as error:  # None, a text, rows of different lengths
            what, expected = f"the replacement of '{name}' is no array", f"an array of shape {part.shape}"
            do = "Return the array; for zeros write jnp.zeros_like."
            raise problem(what, got=describe(new), expected=expected, do=do) from error
        if array.shape != part.shape:
            what = f"the replacement of '{name}' has another shape"
            do = "Return an array of the shape of the activation; for zeros write jnp.zeros_like."
            raise problem(what, got=describe(array), expected=f"{name.axes} = {part.shape}", do=do)
        new = array.astype(x.dtype)
        if name.head is not None:
            new = x.at[(slice(None),) * name.head_axis + (name.head,)].set(new)
        return new if name.layer is None else jnp.where(self._layer == name.layer, new, x)

    def _array(self, part: Array, name: Name, array: Any) -> Array:
        """Return what an array puts in place of `part`: of a leading L its own layer, of T its own step."""
        array = jnp.asarray(array)
        if array.ndim == part.ndim + 1 and not name.of_stack:
            array = array[0] if name.layer is not None else array[self._layer]
        if self._step is None or "T" not in name.axes:
            return array
        position, T = self._step
        axis = name.axes.split().index("T")
        if array.ndim != part.ndim or array.shape[axis] != T:
            full = (*part.shape[:axis], T, *part.shape[axis + 1 :])
            what = f"the replacement of '{name}' has another shape"
            raise problem(what, got=describe(array), expected=f"{name.axes} = {full}")
        return jax.lax.dynamic_index_in_dim(array, position, axis)


def _part(x: Array, name: Name) -> Array:
    """Take the head that a name chooses, or the whole activation."""
    return x if name.head is None else jnp.take(x, name.head, axis=name.head_axis)


def chosen_layers(captured: Mapping[str, Array], request: Request) -> dict[str, Array]:
    """Cut stacked activations (leading L) to the layers that each name of the request chooses."""
    names = dict(request.capture)
    return {text: x if (layer := names[text].layer) is None else x[layer : layer + 1] for text, x in captured.items()}
