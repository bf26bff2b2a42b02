"""The table of rules: which axis of a parameter or an activation is divided along which axis of the mesh.

    letter of a parameter   axis of the mesh   what a device has
    D, else E               fsdp               a part of the width: of every matrix, table, norm, bias of width D
    N, K                    tensor             a part of the heads
    F                       tensor             a part of the feed-forward
    V                       tensor             a part of the vocabulary

A letter takes an axis of the mesh that no letter before it has taken. The letters are those of every parameter's
declaration (`transformer.nn.parameter_axes`), so that a row from outside is divided by the same table. Activations are
divided by the names of their sites and the letters of their axes: examples along data and fsdp, positions along
sequence, heads, feed-forward and vocabulary along tensor; keys and values have all positions, since every query reads
them. What has no rule here is left to the compiler.
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

OF_ACTIVATIONS: Mapping[str, str | tuple[str, ...]] = {
    "B": BATCH,
    **dict.fromkeys("TS", "sequence"),
    **dict.fromkeys("NKFV", "tensor"),
}
"""Letter of an activation -> axes of the mesh."""

ACTIVATIONS: Mapping[str, str] = {
    **dict.fromkeys(("*.key", "*.value"), "B K"),
    **dict.fromkeys(
        ("*.embedding", "*.query", "*.head", "*.hidden", "*.output", "*.residual", "*.logits"), "B T S N F V"
    ),
}
"""Pattern of the name of a site -> letters of those of its axes that are divided."""


class Rule:
    """A rule of the user's own, "PATTERN=LETTER:AXIS".

    Raises:
        UserError: it is not written so, or names no axis.
    """

    def __init__(self, text: str) -> None:
        self.pattern, _, rest = text.partition("=")
        self.letter, _, axis = rest.partition(":")
        if not self.pattern or len(self.letter) != 1 or axis not in (*AXES, "none"):
            raise problem(
                "not a rule of the mesh",
                got=repr(text),
                expected=f"PATTERN=LETTER:AXIS, a letter such as {' '.join(LETTERS)}, an axis: {', '.join(AXES)}, none",
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


def refuse_idle(rules: Sequence[Rule], parameters: Mapping[str, Sequence[str]]) -> None:
    """Raise a UserError for a rule whose pattern fits no parameter, or none that has its letter.

    Args:
        parameters: path -> letters of the axes.
    """
    for rule in rules:
        fitting = {path: letters for path, letters in parameters.items() if rule.fits(path)}
        if not fitting:
            raise problem(
                "a rule of the mesh fits no parameter",
                got=repr(rule.text),
                expected=f"a pattern of {len(parameters)} paths, such as {', '.join(list(parameters)[:3])}",
                do="Mend its pattern, or leave the rule out.",
            )
        if not any(rule.letter in letters for letters in fitting.values()):
            listed = ", ".join(f"{path} ({' '.join(letters)})" for path, letters in list(fitting.items())[:3])
            raise problem(
                f"no parameter that fits a rule of the mesh has an axis {rule.letter}",
                got=repr(rule.text),
                expected=f"a letter of one of {len(fitting)}, such as {listed}",
                do="Mend its letter, or leave the rule out.",
            )


def spec_of_site(name: str, axes: str) -> PartitionSpec | None:
    """Return how the activation of a site is divided in one layer; None: as the compiler chooses.

    Args:
        name: its name, such as "decoder.*.self.query".
        axes: letters of its axes, such as "L B T N H".
    """
    divided = next((letters for pattern, letters in ACTIVATIONS.items() if fnmatch.fnmatchcase(name, pattern)), None)
    if divided is None:
        return None
    found: list[str | tuple[str, ...] | None] = []
    for letter in axes.replace("L", "").split():
        axis = OF_ACTIVATIONS.get(letter) if letter in divided.split() else None
        found.append(None if axis in found else axis)
    return PartitionSpec(*found)
