"""Architectures: which settings they read, and what their layers have.

Conditions such as `TRANSFORMERS` stand at the fields of `models.config` (`read_by=`); see `transformer.read_by`.
"""

from collections.abc import Callable

from transformer.nn.block_layout import sublayers
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import ARCHITECTURES, FEED_FORWARDS, family, structure
from transformer.nn.positions import POSITIONS
from transformer.nn.settings import ModelSettings
from transformer.ops.scores import SCORES, Score, find
from transformer.read_by import Condition, unless
from transformer.tables import Choice, Row

Parts = dict[str, int]
"""Residual and sublayers of a stack's layers -> in how many of them, from the first on."""


A_TRANSFORMER = "a Transformer"
"""Words for the architectures that are not recurrent."""
NO_ATTENTION = "none"
"""The value of recurrent.attention without any."""


def stacks(config: ModelSettings) -> dict[str, Parts]:
    """List the stacks of a resolved config, and in how many layers each of their parts is."""
    row = ARCHITECTURES.find(config.architecture)
    parts_of = _recurrent_parts if row.structure.recurrent else _block_parts
    found = {stack: parts_of(config, stack, getattr(config, count)) for stack, count in row.structure.stacks.items()}
    if row.parts is None:
        return found
    return {
        stack: {part: n for part, n in parts.items() if part in (row.parts or ())} for stack, parts in found.items()
    }


def _block_parts(config: ModelSettings, stack: str, layers: int) -> Parts:
    """List the parts of a stack of Transformer blocks; without any sublayer it has no blocks."""
    crossed = config.cross_attention and stack == "decoder" and len(structure(config.architecture).stacks) == 2
    present = sublayers(config, crossed)
    return dict.fromkeys(("residual", *present), layers) if present else {}


def _recurrent_parts(config: ModelSettings, stack: str, layers: int) -> Parts:
    """List the parts of a stack of recurrent layers; the decoder's first attends."""
    attends = stack == "decoder" and config.recurrent.score is not None
    return {"residual": layers, **({"cross": 1} if attends else {})}


def score_of(config: ModelSettings) -> Score | None:
    """Return the score of a config's attention, with its own settings; None without attention."""
    if not structure(config.architecture).recurrent:
        return SCORES.of(config, "score")
    return None if config.recurrent.score is None else SCORES.of(config.recurrent, "attention")


# Conditions under which settings are read


def only(*architectures: str) -> Condition:
    """Return the condition of settings that these architectures, and those like them, alone read."""
    return Condition(
        ("model.architecture",),
        holds=lambda architecture: family(architecture) in architectures,
        who=lambda architecture: f"architecture {str(architecture)!r}",
        expected=", ".join(architectures),
        do="Leave it out, or change model.architecture.",
    )


def with_choice(
    name: str, holds: Callable[..., bool], expected: str, *others: str, where: str = "", noted: bool = False
) -> Condition:
    """Return the condition of settings that are read with some values of the setting `name`.

    Args:
        holds: (its value, those of `others`) -> True where they are read.
        expected: the values, in words.
        where: the architectures that have the setting `name`, in words; "": all.
    """
    return Condition(
        ("model.architecture", name, *others),
        holds=lambda architecture, *values: holds(*values),
        who=lambda architecture, value, *rest: (
            f"architecture {str(architecture)!r} with {name} {str(value) if isinstance(value, Row) else value!r}"
        ),
        expected=expected,
        do=f"Leave it out, or change {name}.",
        where=where,
        noted=noted,
    )


def _has_buckets(score: Score) -> bool:
    """Check that a score has parameters of each bucket of distances."""
    return has_axis(score, "M")


def has_axis(score: Score, letter: str) -> bool:
    """Check that a score has a parameter with this axis."""
    return any(letter in row.axes.split() for row in score.parameters.values())


def of_attention(*settings: str, self_alone: bool = False, noted: bool = False) -> tuple[Condition, ...]:
    """Return the conditions of settings of attention: the mixer reads one of `settings`, or cross-attention does.

    Args:
        settings: rows of `nn.mixers.OF_ATTENTION`, or settings of their section.
        self_alone: True for what cross-attention does not read.
    """

    def mixer_reads(mixer: Choice) -> bool:
        return any(MIXERS.find(mixer, "model.mixer").reads_setting(name) for name in settings)

    def cross_reads(architecture: Choice) -> bool:
        return not self_alone and len(structure(architecture).stacks) == 2

    readers = ", ".join(name for name in MIXERS if mixer_reads(name))
    alone = Condition(
        ("model.architecture", "model.mixer"),
        holds=lambda architecture, mixer: mixer_reads(mixer) or cross_reads(architecture),
        who=lambda architecture, mixer: f"architecture {str(architecture)!r} with model.mixer {str(mixer)!r}",
        expected=f"a mixer that reads it, such as {readers}",
        do="Leave it out, or change model.mixer.",
        where=A_TRANSFORMER,
        noted=noted,
    )
    both = with_choice(
        "model.mixer",
        lambda mixer, cross: mixer_reads(mixer) or (cross and not self_alone),
        alone.expected,
        "model.cross_attention",
        where=A_TRANSFORMER,
        noted=noted,
    )
    return alone, both


TRANSFORMERS = only("encoder_only", "decoder_only", "seq2seq")
TWO_STACKS = only("seq2seq", "rnn_seq2seq")
ONE_OF_BOTH_STACKS = unless("model.num_encoder_layers", "model.num_decoder_layers", quiet=True)
SEQ2SEQ = only("seq2seq")
RECURRENT = only("rnn_seq2seq")
SELF_ATTENTION = with_choice(
    "model.self_attention", lambda value: value, "model.self_attention true", where=A_TRANSFORMER
)
ATTENTION = with_choice(
    "model.recurrent.attention",
    lambda value: value != NO_ATTENTION,
    "model.recurrent.attention other than none",
    where="rnn_seq2seq",
)
ATTENDS = with_choice(
    "model.self_attention",
    lambda own, cross: own or cross,
    "model.self_attention or model.cross_attention true",
    "model.cross_attention",
    where=A_TRANSFORMER,
    noted=True,
)
FEED_FORWARD = with_choice(
    "model.feed_forward_width", lambda value: value != 0, "model.feed_forward_width other than 0"
)
HIDDEN_WIDTH = with_choice(
    "model.feed_forward", lambda value: FEED_FORWARDS.find(value).reads_width, "a feed-forward with a hidden width"
)
ACTIVATION = with_choice(
    "model.feed_forward", lambda value: FEED_FORWARDS.find(value).reads_activation, "a feed-forward that reads it"
)
EMBEDDING_NORM = with_choice("model.embedding.norm", lambda value: value, "model.embedding.norm true")
TOKENS = with_choice("model.class_head.classes", lambda value: value is None, "model.class_head.classes none")
TOKEN_HEAD = with_choice("model.token_head.present", lambda value: value, "model.token_head.present true")
ROTARY = with_choice(
    "model.position",
    lambda value: POSITIONS.find(value).rotates is not None,
    "model.position=rotary, or another that rotates",
)
REMAT = with_choice("model.remat", lambda value: value, "model.remat true")
RELATIVE = with_choice("model.position", lambda value: POSITIONS.find(value).has_buckets, "model.position=relative")
BUCKETS = with_choice(
    "model.position",
    lambda position, score: POSITIONS.find(position).has_buckets or _has_buckets(find(score)),
    "model.position=relative or model.score=position_only",
    "model.score",
)
