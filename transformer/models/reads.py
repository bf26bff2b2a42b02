"""Architectures: which settings they read, what their layers have, and which settings contradict each other.

Conditions such as `TRANSFORMERS` stand at the fields of `models.config` (`read_by=`); see `transformer.read_by`. A
contradiction is a row of CONTRADICTIONS. Settings of variants that no row names may be combined.
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from transformer.errors import counted, problem
from transformer.nn.blocks import sublayers
from transformer.nn.positions import POSITIONS
from transformer.nn.settings import ModelSettings
from transformer.nn.user_functions import check_functions
from transformer.ops.scores import SCORES, Score, find
from transformer.read_by import Condition, unless, when

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
    return _has_axis(score, "M")


def _has_axis(score: Score, letter: str) -> bool:
    return any(letter in row.axes.split() for row in score.parameters.values())


UNFUSED = ("soft_cap", "sink", "differential", "score_modifier")
"""Settings of attention with which no fused kernel computes it."""


def _has_kernel(architecture: str, score: str, position: str, *unfused: Any) -> bool:
    """Check that a fused kernel computes some attention of a model: q . k alone; cross-attention has no bias."""
    *others, modifier = unfused
    by_self = POSITIONS[position].bias is None and modifier is None
    return find(score).dot_scale is not None and not any(others) and (by_self or architecture == "seq2seq")


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
ROTARY = with_choice("model.position", lambda value: POSITIONS[value].rotates, "model.position=rotary")
NO_REMAT = with_choice("model.remat", lambda value: not value, "model.remat false")
FUSED = Condition(
    ("model.architecture", "model.score", "model.position", *(f"model.attention.{name}" for name in UNFUSED)),
    holds=_has_kernel,
    who=lambda *_: "attention of this score, position and section model.attention, which no fused kernel computes",
    expected="scores dot and scaled_dot, positions without a bias, and none of " + ", ".join(UNFUSED),
    do="Leave it out.",
    noted=True,
)
RELATIVE = with_choice("model.position", lambda value: POSITIONS[value].learns, "model.position=relative")
BUCKETS = with_choice(
    "model.position",
    lambda position, score: POSITIONS[position].learns or _has_buckets(find(score)),
    "model.position=relative or model.score=position_only",
    "model.score",
)


# Contradictions


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """A row of CONTRADICTIONS.

    Attributes:
        holds: (resolved config, its score or None) -> True where the config contradicts itself.
        what, got, expected, do: the parts of the error.
    """

    holds: Callable[[WholeSettings, Score | None], bool]
    what: str
    got: Callable[[WholeSettings], str]
    expected: str | None = None
    do: str | None = None


def _no_content(score: Score | None) -> bool:
    return score is not None and not score.reads_content


def _lists(config: WholeSettings) -> dict[str, int]:
    """Count the values of each setting that is given layer by layer."""
    return {name: len(x) for name in ("window", "rotary_base") if isinstance(x := getattr(config, name), tuple)}


def _layers(config: WholeSettings) -> set[Any]:
    """Collect the numbers of layers of the stacks."""
    return {config.num_encoder_layers or config.num_layers, config.num_decoder_layers or config.num_layers}


def _written(layers: set[Any]) -> str:
    return " and ".join(counted(number, "layer") for number in sorted(layers))


def _rotates(config: WholeSettings) -> bool:
    return POSITIONS[config.position].rotates


CONTRADICTIONS = {
    "positions of self-attention, no self-attention": Contradiction(
        lambda config, _: (
            (_rotates(config) or POSITIONS[config.position].bias is not None) and not config.self_attention
        ),
        "these positions work within self-attention",
        lambda config: f"model.position {config.position}, model.self_attention false",
        do="Set model.position to one that is added to the embeddings, or to none.",
    ),
    "rotary positions, an odd width": Contradiction(
        lambda config, _: _rotates(config) and config.head_width % 2 == 1,
        "rotary positions rotate pairs of entries",
        lambda config: f"head_width {config.head_width}",
        "even",
    ),
    "settings of each layer, another number of layers": Contradiction(
        lambda config, _: any(_layers(config) != {length} for length in _lists(config).values()),
        "a setting is given for another number of layers than there are",
        lambda config: ", ".join(
            f"model.{name} of {length} for {_written(_layers(config))}" for name, length in _lists(config).items()
        ),
        "one value, or one for each layer of every stack",
    ),
    "fewer distances than buckets": Contradiction(
        lambda config, _: POSITIONS[config.position].learns and config.relative.max_distance < config.relative.buckets,
        "buckets of distances would hold nothing",
        lambda config: f"model.relative.buckets {config.relative.buckets}, max_distance {config.relative.max_distance}",
        "a max_distance of at least the buckets",
    ),
    "a score without content, norms of queries and keys": Contradiction(
        lambda config, score: _no_content(score) and config.attention.query_key_norm is not None,
        "norms of queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.attention.query_key_norm {config.attention.query_key_norm}",
        "a score of queries and keys, or query_key_norm none",
    ),
    "a score without content, two maps": Contradiction(
        lambda config, score: _no_content(score) and config.attention.differential,
        "the two maps of differential attention are equal where the score does not read queries and keys",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score of queries and keys, or differential false",
    ),
    "a score with parameters of a head's width, two maps": Contradiction(
        lambda config, score: config.attention.differential and score is not None and _has_axis(score, "H"),
        "differential attention halves the width of queries and keys, which the score has parameters for",
        lambda config: f"model.score {config.score}, model.attention.differential true",
        "a score without them, or differential false",
    ),
    "two maps, an odd width": Contradiction(
        lambda config, _: config.attention.differential and config.head_width % 2 == 1,
        "differential attention takes the two halves of each head",
        lambda config: f"head_width {config.head_width}",
        "even",
    ),
    "two maps that are rotated, a width that is no multiple of 4": Contradiction(
        lambda config, _: config.attention.differential and _rotates(config) and config.head_width % 4 != 0,
        "rotary positions rotate pairs of entries in each half of a head of differential attention",
        lambda config: f"head_width {config.head_width}",
        "a multiple of 4",
    ),
    "a score without content, positions that rotate queries and keys": Contradiction(
        lambda config, score: _no_content(score) and _rotates(config),
        "positions that rotate queries and keys change nothing where the score does not read them",
        lambda config: f"model.score {config.score}, model.position {config.position}",
        "a score of queries and keys, or another position",
    ),
    "two directions, an odd width": Contradiction(
        lambda config, _: STRUCTURES[config.architecture].recurrent and config.width % config.recurrent.directions != 0,
        "a bidirectional encoder gives half of model.width to each direction",
        lambda config: f"width {config.width}",
        "even",
        "Set model.recurrent.bidirectional=false, or another model.width.",
    ),
    "recurrent layers, a score of positions": Contradiction(
        lambda config, score: STRUCTURES[config.architecture].recurrent and score is not None and score.reads_positions,
        "model.recurrent.attention reads queries and keys, not positions",
        lambda config: str(config.recurrent.score),
        "a score of queries and keys, or none",
    ),
}


def check(config: WholeSettings) -> None:
    """Check a resolved config as a whole.

    Raises:
        UserError: settings that contradict each other, or a user's own function that cannot be used.
    """
    score = score_of(config)
    for row in CONTRADICTIONS.values():
        if row.holds(config, score):
            raise problem(row.what, got=row.got(config), expected=row.expected, do=row.do)
    setting = "model.recurrent.attention" if _is_recurrent(config) else "model.score"
    setting = f"{setting} {str(operator.attrgetter(setting.removeprefix('model.'))(config))!r}"
    check_functions(config, score, setting, self_alone=len(STRUCTURES[config.architecture].stacks) == 1)
