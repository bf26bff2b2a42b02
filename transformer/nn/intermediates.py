"""Names of activations, and the request to capture or replace some.

    encoder|decoder . layer . self|cross . query|key|value|scores|weights|head|output [. head number]
    encoder|decoder . layer . feed_forward . hidden|output
    encoder|decoder . layer . residual

A layer and a head are a number or `*`; a missing head is all heads. Captured arrays have a leading L: the layers that
were named. `weights` are after the mask and before dropout, `scores` before bias and mask, `head` is the weighted sum
of each head's values, `output` the sublayer's addition to the residual stream, `residual` the stream after the block;
in a recurrent model the context of a step, and the states that a layer hands on (see `nn.recurrent.stacks`).
Differential attention has two maps of scores for each head: the first ones of all heads, then the second; a head's
number names its first.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jax import Array

from transformer.axes import describe
from transformer.errors import problem, unknown

STACKS = ("encoder", "decoder")

SPELLED = {
    "self": "self-attention",
    "cross": "cross-attention",
    "feed_forward": "feed-forward",
    "residual": "layers",
}
"""Parts of a layer, in words."""

HEAD_AXIS = {"query": 2, "key": 2, "value": 2, "head": 2, "scores": 1, "weights": 1}
"""Axis of the heads in an activation without L."""

SITES = tuple(
    [f"{sublayer}.{name}" for sublayer in ("self", "cross") for name in (*HEAD_AXIS, "output")]
    + ["feed_forward.hidden", "feed_forward.output", "residual"]
)


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of one activation; None stands for `*`."""

    stack: str
    layer: int | None
    site: str
    head: int | None

    @property
    def head_axis(self) -> int:
        """Axis of the heads in an activation that has heads, without L."""
        return HEAD_AXIS[self.site.rpartition(".")[2]]

    @property
    def needs_weights(self) -> bool:
        """True for scores and weights, which fused attention does not compute."""
        return self.site.endswith((".scores", ".weights"))


def parse_name(text: str) -> Name:
    """Read a name such as "decoder.3.self.head.5".

    Raises:
        UserError: it does not follow the grammar above.
    """
    if not isinstance(text, str):
        raise problem("the name of an activation is a text", got=repr(text), expected="encoder|decoder.LAYER|*.NAME")
    parts = text.split(".")
    if parts[0] not in STACKS:
        raise unknown(f"stack in {text!r}", parts[0], STACKS)
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


@dataclasses.dataclass(frozen=True)
class Request:
    """The activations to capture and to replace; hashable, so that it can be an attribute of a module."""

    capture: tuple[tuple[str, Name], ...] = ()
    replace: tuple[tuple[Name, Callable[[Array], Array]], ...] = ()

    @property
    def names(self) -> list[Name]:
        """All names of the request."""
        return [name for _, name in self.capture] + [name for name, _ in self.replace]


def make_request(capture: Sequence[str] = (), replace: Mapping[str, Callable[[Array], Array]] | None = None) -> Request:
    """Make a Request from names.

    Raises:
        UserError: a name that does not follow the grammar, one string where a tuple of names is meant, or no dict of
            functions to replace by.
    """
    if isinstance(capture, str):
        raise problem("capture takes a tuple of names", got=repr(capture), do=f"Write capture=({capture!r},).")
    replace = {} if replace is None else replace
    if not isinstance(replace, Mapping):
        expected = "a dict from names of activations to functions"
        raise problem("replace takes functions by name", got=type(replace).__name__, expected=expected)
    for text, function in replace.items():
        if not callable(function):
            got = f"{describe(function)}, for {text!r}"
            do = "For zeros write jnp.zeros_like, for an array lambda x: array."
            raise problem("replace takes functions of the activation", got=got, do=do)
    replacements = tuple((parse_name(text), function) for text, function in replace.items())
    return Request(tuple((text, parse_name(text)) for text in capture), replacements)


def check(request: Request, stacks: Mapping[str, Mapping[str, int]], num_heads: int, num_kv_heads: int | None) -> None:
    """Raise a UserError if a model lacks an activation of the request.

    Args:
        stacks: stack -> the parts of its layers, "residual" and sublayers -> in how many of them, from the first on.
        num_kv_heads: None in a model without attention.
    """
    for name in request.names:
        if name.stack not in stacks:
            raise problem(f"this model has no {name.stack}", expected="a name that begins with " + " or ".join(stacks))
        part, has = name.site.partition(".")[0], stacks[name.stack]
        if part not in has:
            raise problem(f"the {name.stack} of this model has no {SPELLED[part]}", got=name.site)
        if name.layer is not None and name.layer >= has[part]:
            lacking = f"this layer of the {name.stack} has no {SPELLED[part]}"
            what = lacking if name.layer < has["residual"] else f"no such layer in the {name.stack}"
            raise problem(what, got=name.layer, expected=f"0 to {has[part] - 1}, or *")
        heads = num_kv_heads if name.site.endswith((".key", ".value")) else num_heads
        if name.head is not None and heads is not None and name.head >= heads:
            raise problem(f"no such head of {name.site}", got=name.head, expected=f"0 to {heads - 1}, or *")


class Recorder:
    """The recorder of one block, which carries out a request: `x = recorder.sublayer("self").record("query", x)`.

    It is made where the block is called and discarded there; `captured` is a result of the block.

    Args:
        request: the activations to capture and to replace.
        stack: "encoder" or "decoder".
        layer: index of the block in its stack.
        prefix: beginning of the sites that `record` is given, such as "self.".
    """

    def __init__(self, request: Request, stack: str, layer: Array | int, prefix: str = ""):
        self._captures = [(text, name) for text, name in request.capture if name.stack == stack]
        self._replacements = [(name, function) for name, function in request.replace if name.stack == stack]
        self._layer = layer
        self._prefix = prefix
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

    def _replace(self, x: Array, name: Name, function: Callable[[Array], Array]) -> Array:
        part = _part(x, name)
        given = function(part)
        try:
            new = jnp.asarray(given)
        except (TypeError, ValueError) as error:  # None, a text, rows of different lengths
            got, expected = describe(given), f"an array of shape {part.shape}"
            raise problem(f"the replacement of {name.site} is no array", got=got, expected=expected) from error
        if new.shape != part.shape:
            raise problem(f"the replacement of {name.site} has another shape", got=new.shape, expected=part.shape)
        new = new.astype(x.dtype)
        if name.head is not None:
            new = x.at[(slice(None),) * name.head_axis + (name.head,)].set(new)
        return new if name.layer is None else jnp.where(self._layer == name.layer, new, x)


def _part(x: Array, name: Name) -> Array:
    """Take the head that a name chooses, or the whole activation."""
    return x if name.head is None else jnp.take(x, name.head, axis=name.head_axis)


def chosen_layers(captured: Mapping[str, Array], request: Request) -> dict[str, Array]:
    """Cut stacked activations (leading L) to the layers that each name of the request chooses."""
    names = dict(request.capture)
    return {text: x if (layer := names[text].layer) is None else x[layer : layer + 1] for text, x in captured.items()}
