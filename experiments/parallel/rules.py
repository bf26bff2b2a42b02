"""The table of rules: which axis of a parameter or an activation is divided along which axis of the mesh.

    letter of a parameter   axis of the mesh   what a device has
    D, else E               fsdp               a part of the width: of every matrix, table, norm, bias of width D
    N, K                    tensor             a part of the heads
    F                       tensor             a part of the feed-forward
    V                       tensor             a part of the vocabulary

A letter takes an axis of the mesh that no letter before it has taken. The letters are those of every parameter's
declaration (`transformer.nn.parameter_axes`), so that a row from outside is divided by the same table. Activations are
divided by the names of their sites: examples along data and fsdp, positions along sequence; keys and values have all
positions, since every query reads them. What has no rule here is left to the compiler.
"""

import fnmatch
from collections.abc import Mapping, Sequence

from jax.sharding import PartitionSpec

from experiments.parallel.config import AXES
from transformer.errors import problem

LETTERS: Mapping[str, str | None] = {
    "D": "fsdp",
    "E": "fsdp",
    "N": "tensor",
    "K": "tensor",
    "F": "tensor",
    "V": "tensor",
    **dict.fromkeys("LHZCAPM"),
}
"""Letter of a parameter -> axis of the mesh; None: every device has it whole."""

BATCH = ("data", "fsdp")
"""Axes of the mesh along which examples are divided."""

ACTIVATIONS: Mapping[str, PartitionSpec] = {
    "*.embedding": PartitionSpec(BATCH, "sequence"),
    "*.query": PartitionSpec(BATCH, "sequence", "tensor"),
    "*.key": PartitionSpec(BATCH, None, "tensor"),
    "*.value": PartitionSpec(BATCH, None, "tensor"),
    "*.head": PartitionSpec(BATCH, "sequence", "tensor"),
    "*.hidden": PartitionSpec(BATCH, "sequence", "tensor"),
    "*.output": PartitionSpec(BATCH, "sequence"),
    "*.residual": PartitionSpec(BATCH, "sequence"),
    "*.logits": PartitionSpec(BATCH, "sequence", "tensor"),
}
"""Pattern of the name of a site -> how it is divided."""


class Rule:
    """A rule of the user's own, "PATTERN=LETTER:AXIS".

    Raises:
        UserError: it is not written so, or names no letter or axis.
    """

    def __init__(self, text: str) -> None:
        self.pattern, _, rest = text.partition("=")
        self.letter, _, axis = rest.partition(":")
        if not self.pattern or self.letter not in LETTERS or axis not in (*AXES, "none"):
            raise problem(
                "not a rule of the mesh",
                got=repr(text),
                expected=f"PATTERN=LETTER:AXIS, a letter of {' '.join(LETTERS)}, an axis of {', '.join(AXES)}, none",
                do="Write, for instance, --config.mesh.rules='*table=V:none'.",
            )
        self.text, self.axis = text, None if axis == "none" else axis

    def fits(self, path: str) -> bool:
        """Compare the pattern with the path of a parameter."""
        return fnmatch.fnmatchcase(path, self.pattern)


def spec_of_parameter(path: str, letters: Sequence[str], rules: Sequence[Rule] = ()) -> PartitionSpec:
    """Return how a parameter is divided.

    Args:
        path: its path, such as "decoder.blocks.self.query.kernel".
        letters: of its axes.
        rules: of the user's own; the last that fits counts.

    Raises:
        UserError: a letter that no rule covers.
    """
    own = {rule.letter: rule.axis for rule in rules if rule.fits(path)}
    axes: list[str | None] = []
    for letter in letters:
        if letter not in LETTERS and letter not in own:
            raise problem(
                f"no rule of the mesh covers axis {letter} of parameter {path}",
                expected=f"one of {', '.join(LETTERS)}",
                do=f"Give one: --config.mesh.rules='{path}={letter}:none'.",
            )
        axis = own.get(letter, LETTERS.get(letter))
        axes.append(None if axis in axes else axis)
    return PartitionSpec(*axes)


def refuse_idle(rules: Sequence[Rule], paths: Sequence[str]) -> None:
    """Raise a UserError for a rule whose pattern fits no parameter."""
    for rule in rules:
        if not any(rule.fits(path) for path in paths):
            raise problem(
                "a rule of the mesh fits no parameter",
                got=repr(rule.text),
                expected=f"a pattern of {len(paths)} paths, such as {', '.join(paths[:3])}",
                do="Mend its pattern, or leave the rule out.",
            )


def spec_of_site(name: str) -> PartitionSpec | None:
    """Return how the activation of a site is divided; None: as the compiler chooses."""
    return next((spec for pattern, spec in ACTIVATIONS.items() if fnmatch.fnmatchcase(name, pattern)), None)
