"""Names of activations.

    encoder|decoder . layer . self|cross . query|key|value|scores|weights|head|output [. head number]
    encoder|decoder . layer . self . what a mixer of another kind records [. head number]
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
"""

import dataclasses
from collections.abc import Mapping

from transformer.errors import UserError, problem, unknown

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

HEADS = ("N", "K")
"""Axes of heads."""

HEAD_AXIS = {name: axis for name, axes in AXES.items() for axis, letter in enumerate(axes.split()) if letter in HEADS}
"""Axis of the heads in an activation without L."""

SUBLAYER_SITES = (*HEAD_AXIS, "output")
"""Activations of attention."""


def layer_sites(mixer: Mapping[str, str]) -> dict[str, str]:
    """Return the activations of a layer with this mixer, and their axes.

    Args:
        mixer: what the mixer records -> its axes.
    """
    of_cross = {f"cross.{name}": AXES[name] for name in SUBLAYER_SITES}
    others = {f"feed_forward.{name}": AXES[name] for name in ("hidden", "output")}
    return {
        **{f"self.{name}": axes for name, axes in mixer.items()},
        **of_cross,
        **others,
        "residual": AXES["residual"],
    }


SITES = layer_sites({name: AXES[name] for name in SUBLAYER_SITES})
"""Activations of a layer with attention -> their axes."""

LISTED = "model.sites(batch) lists the names."
"""Advice about a name that a model does not have."""

STACK_SITES = ("embedding", "final_norm", "logits")
"""Activations of a stack, which have no layer."""


@dataclasses.dataclass(frozen=True)
class Name:
    """The name of one activation; None stands for `*`, and for the layer of an activation of a whole stack.

    Attributes:
        all_axes: axes of the activation without L, of all heads.
    """

    stack: str
    layer: int | None
    site: str
    head: int | None
    all_axes: str

    @property
    def of_stack(self) -> bool:
        """True for an activation of a whole stack."""
        return self.site in STACK_SITES

    @property
    def axes(self) -> str:
        """Axes of the activation without L, such as "B T N H"; of the part that a head's number chooses."""
        return " ".join(letter for letter in self.all_axes.split() if self.head is None or letter not in HEADS)

    @property
    def head_axis(self) -> int:
        """Axis of the heads in an activation that has heads, without L."""
        return next(axis for axis, letter in enumerate(self.all_axes.split()) if letter in HEADS)

    @property
    def needs_weights(self) -> bool:
        """True for scores and weights, which fused attention does not compute."""
        return self.site.endswith((".scores", ".weights"))

    def __str__(self) -> str:
        layer, head = ("*" if number is None else str(number) for number in (self.layer, self.head))
        parts = [self.stack, *([] if self.of_stack else [layer]), self.site, *([] if self.head is None else [head])]
        return ".".join(parts)


def parse_name(text: str, sites: Mapping[str, str] = SITES) -> Name:
    """Read a name such as "decoder.3.self.head.5" or "decoder.logits".

    Args:
        sites: activations of a layer -> their axes.

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
        return Name(parts[0], None, whole, None, AXES[whole])
    rest = ".".join(parts[1:])
    if rest.removesuffix(f".{parts[-1]}") in sites or rest in sites:
        raise problem("an activation of a layer", got=f"{text!r} without one", do=f"Write '{parts[0]}.*.{rest}'.")
    if len(parts) == 2 and parts[1] != "*" and not parts[1].isdigit():
        raise unknown(f"activation in {text!r}", parts[1], (*STACK_SITES, *sites))
    if len(parts) < 3:
        raise problem("not the name of an activation", got=repr(text), expected="encoder|decoder.LAYER|*.NAME")
    head = None
    if len(parts) == 5:
        head = _number(parts.pop(), text)
    site = ".".join(parts[2:])
    if site not in sites:
        raise _no_site(text, site, sites)
    name = Name(parts[0], _number(parts[1], text), site, head, sites[site])
    if head is not None and not _has_heads(name.all_axes):
        with_heads = ", ".join(dict.fromkeys(own.rpartition(".")[2] for own in sites if _has_heads(sites[own])))
        raise problem(f"{parts[3]!r} has no heads", got=repr(text), expected="a head of " + with_heads)
    return name


def _no_site(text: str, site: str, sites: Mapping[str, str]) -> UserError:
    """Return the error for an activation that no layer has; attention's own have one that names the mixer."""
    if site not in SITES:
        return unknown(f"activation in {text!r}", site, sites)
    there = ", ".join(own for own in sites if own.startswith("self."))
    what = f"the mixer of this model computes no {site.removeprefix('self.')}"
    return problem(
        what, got=repr(text), expected=f"one of {there}", do="Self-attention, model.mixer=attention, has it."
    )


def _has_heads(axes: str) -> bool:
    return any(letter in HEADS for letter in axes.split())


def _number(part: str, text: str) -> int | None:
    if part != "*" and not part.isdigit():
        raise problem(f"a layer and a head are a number or *, in {text!r}", got=repr(part))
    return None if part == "*" else int(part)
