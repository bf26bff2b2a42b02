"""Names of activations, and the request to capture or replace some.

    encoder|decoder . layer . self|cross . query|key|value|scores|weights|head|output [. head number]
    encoder|decoder . layer . feed_forward . hidden|output
    encoder|decoder . layer . residual
    encoder|decoder . embedding|final_norm|logits

A layer and a head are a number or `*`; a missing head is all heads. Captured arrays have a leading L, the layers that
were named; those of a whole stack, which have no layer in their names, have none. `model.sites(batch)` lists all.

`weights` are after the mask and before dropout, `scores` before bias and mask, `head` is the weighted sum
of each head's values, `output` the sublayer's addition to the residual stream, `residual` the stream after the block;
in a recurrent model the context of a step, and the states that a layer hands on (see `nn.recurrent.stacks`).
`embedding` is what the first layer reads, before dropout: tokens with positions and types; `final_norm` the last norm
of a stack that has one; `logits` those of tokens, B T V, or of classes, B C. While decoding, `logits` are those of the
next token, B 1 V.
Differential attention has two maps of scores for each head: the first ones of all heads, then the second; a head's
number names its first.

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
from transformer.errors import path_of, problem, unknown

STACKS = ("encoder", "decoder")

SPELLED = {
    "self": "self-attention",
    "cross": "cross-attention",
    "feed_forward": "feed-forward",
    "residual": "layers",
    "embedding": "embedding",
    "final_norm": "final norm",
    "logits": "logits",
}
"""Parts of a layer and of a stack, in words."""

AXES = {
    "query": "B T N H",
    "key": "B S K H",
    "value": "B S K H",
    "head": "B T N H",
    "scores": "B N T S",
    "weights": "B N T S",
    "output": "B T D",
    "hidden": "B T F",
    "residual": "B T D",
    "embedding": "B T D",
    "final_norm": "B T D",
    "logits": "B T V",
}
"""Axes of activations, without L; in an encoder T is the source's, as S is."""

HEAD_AXIS = {
    name: axis for name, axes in AXES.items() for axis, letter in enumerate(axes.split()) if letter in ("N", "K")
}
"""Axis of the heads in an activation without L."""

SITES = tuple(
    [f"{sublayer}.{name}" for sublayer in ("self", "cross") for name in (*HEAD_AXIS, "output")]
    + ["feed_forward.hidden", "feed_forward.output", "residual"]
)
"""Activations of a layer."""

LISTED = "model.sites(batch) lists the names."
"""Advice about a name that a model does not have."""

STACK_SITES = ("embedding", "final_norm", "logits")
"""Activations of a stack, which have no layer."""

Replacing = Callable[..., Array] | Array | np.ndarray
"""Function of an activation, or of an activation and the index of its layer; or an array."""


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of one activation; None stands for `*`, and for the layer of an activation of a whole stack."""

    stack: str
    layer: int | None
    site: str
    head: int | None

    @property
    def of_stack(self) -> bool:
        """True for an activation of a whole stack."""
        return self.site in STACK_SITES

    @property
    def axes(self) -> str:
        """Axes of the activation without L, such as "B T N H"; of the part that a head's number chooses."""
        letters = AXES[self.site.rpartition(".")[2]].split()
        return " ".join(letter for letter in letters if self.head is None or letter not in ("N", "K"))

    @property
    def head_axis(self) -> int:
        """Axis of the heads in an activation that has heads, without L."""
        return HEAD_AXIS[self.site.rpartition(".")[2]]

    @property
    def needs_weights(self) -> bool:
        """True for scores and weights, which fused attention does not compute."""
        return self.site.endswith((".scores", ".weights"))

    def __str__(self) -> str:
        layer, head = ("*" if number is None else str(number) for number in (self.layer, self.head))
        parts = [self.stack, *([] if self.of_stack else [layer]), self.site, *([] if self.head is None else [head])]
        return ".".join(parts)


def parse_name(text: str) -> Name:
    """Read a name such as "decoder.3.self.head.5" or "decoder.logits".

    Raises:
        UserError: it does not follow the grammar above.
    """
    if not isinstance(text, str):
        raise problem("the name of an activation is a text", got=repr(text), expected="encoder|decoder.LAYER|*.NAME")
    parts = text.split(".")
    if parts[0] not in STACKS:
        raise unknown(f"stack in {text!r}", parts[0], STACKS)
    whole = next((part for part in parts[1:] if part in STACK_SITES), None)
    if whole is not None:
        if len(parts) > 2:
            do = f"Write '{parts[0]}.{whole}'."
            raise problem(f"{whole!r} is of a whole stack and has no layer and no head", got=repr(text), do=do)
        return Name(parts[0], None, whole, None)
    rest = ".".join(parts[1:])
    if rest.removesuffix(f".{parts[-1]}") in SITES or rest in SITES:
        raise problem("an activation of a layer", got=f"{text!r} without one", do=f"Write '{parts[0]}.*.{rest}'.")
    if len(parts) == 2 and parts[1] != "*" and not parts[1].isdigit():
        raise unknown(f"activation in {text!r}", parts[1], (*STACK_SITES, *SITES))
    if len(parts) < 3:
        raise problem("not the name of an activation", got=repr(text), expected="encoder|decoder.LAYER|*.NAME")
    head = None
    if len(parts) == 5:
        head = _number(parts.pop(), text)
        if parts[3] in ("hidden", "output"):
            raise problem(f"{parts[3]!r} has no heads", got=repr(text), expected="a head of " + ", ".join(HEAD_AXIS))
    site = ".".join(parts[2:])
    if site not in SITES:
        raise unknown(f"activation in {text!r}", site, SITES)
    return Name(parts[0], _number(parts[1], text), site, head)


def _number(part: str, text: str) -> int | None:
    if part != "*" and not part.isdigit():
        raise problem(f"a layer and a head are a number or *, in {text!r}", got=repr(part))
    return None if part == "*" else int(part)


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


def make_request(capture: Sequence[str] = (), replace: Mapping[str, Replacing] | None = None) -> Request:
    """Make a Request from names.

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
    captured = tuple((text, parse_name(text)) for text in capture)
    named = [(parse_name(text), own) for text, own in replace.items()]
    return Request(captured, tuple((name, _replacement(name, own)) for name, own in named))


def _replacement(name: Name, own: Any) -> Replacement:
    """Return what replaces an activation. Raises UserError where it is neither an array nor a fitting function."""
    if not callable(own):
        if has_numbers(own) and np.ndim(own):
            return Replacement(array=own)
        got, expected = f"{describe(own)}, for '{name}'", "a function of the activation, or an array of its shape"
        do = "For zeros write jnp.zeros_like, for one number lambda x: jnp.full_like(x, number)."
        raise problem("replace takes functions and arrays", got=got, expected=expected, do=do)
    try:
        signature = inspect.signature(own)
    except (ValueError, TypeError):  # a function that is not written in Python may have none
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
        heads = num_kv_heads if name.site.endswith((".key", ".value")) else num_heads
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
