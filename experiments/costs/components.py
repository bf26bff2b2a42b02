"""Components of a model: the part that a parameter or an operation belongs to, by the names of Flax's modules.

    decoder/blocks/self/query/kernel                                      "decoder, self-attention", a parameter
    transpose(jvp(Seq2Seq))/encoder|blocks/feed_forward/up                "encoder, feed-forward", an operation

An operation outside every module belongs to the loss where it is differentiated, else to the optimizer.
"""

import collections
import re
from collections.abc import Mapping
from typing import Any

import jax

STACKS = ("encoder", "decoder")
"""Modules whose parts are counted apart."""

PARTS = {
    "norms": r"(\w+_)?norm",
    "self-attention": "self",
    "cross-attention": "cross",
    "recurrent": "recurrent|forward|backward|cell",
    "feed-forward": "feed_forward",
    "embedding": "(source_|target_)?(embedding|input)",
    "head": "(class_)?head|readout",
    "residual stream": "residual",
}
"""Part -> the names of its modules, as a regular expression; the first row that matches counts."""

LOSS, OPTIMIZER, OTHER = "loss", "optimizer", "other"

_WORD = re.compile(r"\w+")


def component(names: str) -> str:
    """Find the part that a path of names belongs to, with its stack: "encoder, norms", "embedding"."""
    words = set(_WORD.findall(names))
    stack = next((stack for stack in STACKS if stack in words), None)
    part = next((part for part, name in PARTS.items() if any(re.fullmatch(name, word) for word in words)), None)
    if part is None and stack is None:
        return LOSS if "jvp" in words else OPTIMIZER
    return ", ".join(name for name in (stack, part or OTHER) if name)


def parameters_by_component(params: Any) -> Mapping[str, int]:
    """Count the parameters of each part of a model, in the order of the tree (arrays, or their shapes)."""
    counts: dict[str, int] = collections.defaultdict(int)
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        names = "/".join(str(entry.key) for entry in path[:-1])
        counts[component(names)] += x.size
    return dict(counts)
