"""Architectures: which settings they read, and what their layers have.

Conditions such as `TRANSFORMERS` stand at the fields of `models.config` (`read_by=`); see `transformer.read_by`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from transformer.nn.blocks import sublayers
from transformer.nn.positions import POSITIONS
from transformer.nn.settings import ModelSettings
from transformer.ops.scores import SCORES, Score, find
from transformer.ops.weights import WEIGHTS
from transformer.read_by import Condition, unless, when
from transformer.tables import Choice

Parts = dict[str, int]
"""Residual and sublayers of a stack's layers -> in how many of them, from the first on."""


class WholeSettings(ModelSettings, Protocol):
    """The settings of a model, with those that none of its modules reads."""

    @property
    def architecture(self) -> str:
        """Row of STRUCTURES."""
        ...


@dataclasses.dataclass(frozen=True)
class Structure:
    """A row of STRUCTURES.

    Attributes:
        stacks: stack -> the setting that counts its layers.
        class_reads: the hidden states that a classifier reads unless a setting names others.
        recurrent: True for recurrent layers in place of Transformer blocks.
    """

    stacks: Mapping[str, str]
    class_reads: str
    recurrent: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        """The sequences that the stacks read; the logits are those of the last one."""
        return tuple(SIDES[stack] for stack in self.stacks)


SIDES = {"encoder": "source", "decoder": "target"}
"""Stack -> the sequence that it reads."""

BOTH_STACKS = {"encoder": "num_encoder_layers", "decoder": "num_decoder_layers"}

STRUCTURES: dict[str, Structure] = {
    "encoder_only": Structure({"encoder": "num_layers"}, "first"),
    "decoder_only": Structure({"decoder": "num_layers"}, "last"),
    "seq2seq": Structure(BOTH_STACKS, "last"),
    "rnn_seq2seq": Structure(BOTH_STACKS, "last", recurrent=True),
}
"""Architecture -> its row."""

NO_ATTENTION = "none"
"""The value of recurrent.attention without any."""


def stacks(config: WholeSettings) -> dict[str, Parts]:
    """List the stacks of a resolved config, and in how many layers each of their parts is."""
    row = STRUCTURES[config.architecture]
    parts = _recurrent_parts if row.recurrent else _block_parts
    return {stack: parts(config, stack, getattr(config, count)) for stack, count in row.stacks.items()}


def _block_parts(config: WholeSettings, stack: str, layers: int) -> Parts:
    """List the parts of a stack of Transformer blocks; without any sublayer it has no blocks."""
    crossed = config.cross_attention and stack == "decoder" and len(STRUCTURES[config.architecture].stacks) == 2
    present = sublayers(config, crossed)
    return dict.fromkeys(("residual", *present), layers) if present else {}


def _recurrent_parts(config: WholeSettings, stack: str, layers: int) -> Parts:
    """List the parts of a stack of recurrent layers; the decoder's first attends."""
    attends = stack == "decoder" and config.recurrent.score is not None
    return {"residual": layers, **({"cross": 1} if attends else {})}


def score_of(config: WholeSettings) -> Score | None:
    """Return the score of a config's attention, with its own settings; None without attention."""
    if not _is_recurrent(config):
        return SCORES.of(config, "score")
    return None if config.recurrent.score is None else SCORES.of(config.recurrent, "attention")


def _is_recurrent(config: WholeSettings) -> bool:
    return STRUCTURES[config.architecture].recurrent


# Conditions under which settings are read


def only(*architectures: str) -> Condition:
    """Return the condition of settings that these architectures alone read."""
    do = "Leave it out, or change model.architecture."
    return when("model.architecture", *architectures, choice="architecture", do=do)


def with_choice(name: str, holds: Callable[..., bool], expected: str, *others: str, noted: bool = False) -> Condition:
    """Return the condition of settings that are read with some values of the setting `name`.

    Args:
        holds: (its value, those of `others`) -> True where they are read.
        expected: the values, in words.
    """
    return Condition(
        ("model.architecture", name, *others),
        holds=lambda architecture, *values: holds(*values),
        who=lambda architecture, value, *rest: f"architecture {architecture!r} with {name} {value!r}",
        expected=expected,
        do=f"Leave it out, or change {name}.",
        noted=noted,
    )


def _has_buckets(score: Score) -> bool:
    """Check that a score has parameters of each bucket of distances."""
    return has_axis(score, "M")


def has_axis(score: Score, letter: str) -> bool:
    """Check that a score has a parameter with this axis."""
    return any(letter in row.axes.split() for row in score.parameters.values())


UNFUSED = ("weights", "soft_cap", "sink", "differential", "score_modifier")
"""Settings of attention with which no fused kernel computes it."""


def _has_kernel(architecture: str, score: Choice, position: Choice, *unfused: Any) -> bool:
    """Check that a fused kernel computes some attention of a model: q . k alone; cross-attention has no bias."""
    weights, *others, modifier = unfused
    by_self = POSITIONS.find(position).bias is None and modifier is None
    fused = find(score).dot_scale is not None and WEIGHTS.find(weights).is_softmax and not any(others)
    return fused and (by_self or architecture == "seq2seq")


TRANSFORMERS = only("encoder_only", "decoder_only", "seq2seq")
TWO_STACKS = only("seq2seq", "rnn_seq2seq")
ONE_OF_BOTH_STACKS = unless("model.num_encoder_layers", "model.num_decoder_layers", quiet=True)
SEQ2SEQ = only("seq2seq")
RECURRENT = only("rnn_seq2seq")
SELF_ATTENTION = with_choice("model.self_attention", lambda value: value, "model.self_attention true")
ATTENTION = with_choice(
    "model.recurrent.attention", lambda value: value != NO_ATTENTION, "model.recurrent.attention other than none"
)
ATTENDS = with_choice(
    "model.self_attention",
    lambda own, cross: own or cross,
    "model.self_attention or model.cross_attention true",
    "model.cross_attention",
    noted=True,
)
FEED_FORWARD = with_choice(
    "model.feed_forward_width", lambda value: value != 0, "model.feed_forward_width other than 0"
)
ROTARY = with_choice("model.position", lambda value: POSITIONS.find(value).rotates is not None, "model.position=rotary")
NO_REMAT = with_choice("model.remat", lambda value: not value, "model.remat false")
FUSED = Condition(
    ("model.architecture", "model.score", "model.position", *(f"model.attention.{name}" for name in UNFUSED)),
    holds=_has_kernel,
    who=lambda *_: "attention of this score, position and section model.attention, which no fused kernel computes",
    expected="scores dot and scaled_dot, positions without a bias, weights softmax, and none of "
    + ", ".join(name for name in UNFUSED if name != "weights"),
    do="Leave it out.",
    noted=True,
)
RELATIVE = with_choice("model.position", lambda value: POSITIONS.find(value).has_buckets, "model.position=relative")
BUCKETS = with_choice(
    "model.position",
    lambda position, score: POSITIONS.find(position).has_buckets or _has_buckets(find(score)),
    "model.position=relative or model.score=position_only",
    "model.score",
)
