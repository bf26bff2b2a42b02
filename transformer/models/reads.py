"""What is said of each architecture before anything is built: settings it does not read, and what its layers have."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from transformer import schema
from transformer.errors import UserError, not_read, problem
from transformer.models.variants import AttentionConfig, RelativeConfig
from transformer.nn.blocks import sublayers
from transformer.nn.positions import POSITIONS
from transformer.ops.scores import find

Parts = dict[str, int]
"""What the layers of a stack have, a residual and sublayers -> in how many of them, from the first on."""


def _blocks(config: Any, stack: str, layers: int) -> Parts:
    """A stack of Transformer blocks; without any sublayer it has no blocks."""
    crossed = config.cross_attention and stack == "decoder" and len(TRAITS[config.architecture].stacks) == 2
    there = sublayers(config, crossed)
    return dict.fromkeys(("residual", *there), layers) if there else {}


def _recurrent(config: Any, stack: str, layers: int) -> Parts:
    """Recurrent layers, of which the decoder's first attends."""
    attends = stack == "decoder" and config.recurrent.score is not None
    return {"residual": layers, **({"cross": 1} if attends else {})}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A row.

    Attributes:
        stacks: stack -> the setting that counts its layers.
        class_reads: the hidden states that a classifier reads unless a setting says otherwise.
        unread: the settings and sections of `model` that it never reads.
        parts: (config, stack, its number of layers) -> what these have.
        score: config -> the score of its attention; None if it has none.
    """

    stacks: Mapping[str, str]
    class_reads: str
    unread: frozenset[str]
    parts: Callable[[Any, str, int], Parts] = _blocks
    score: Callable[[Any], str | None] = lambda config: config.score


def _settings(**sections: type) -> list[str]:
    """The settings of sections of `model`."""
    return [f"{section}.{name}" for section, cls in sections.items() for name in schema.settings(cls)]


RECURRENT = frozenset({"recurrent.cell", "recurrent.bidirectional", "recurrent.attention"})
ONE_STACK = frozenset({"num_encoder_layers", "num_decoder_layers", "cross_attention", "self_attention"}) | RECURRENT
BOTH_STACKS = {"encoder": "num_encoder_layers", "decoder": "num_decoder_layers"}
OF_BLOCKS = frozenset(
    {
        "feed_forward_width", "score", "position", "rotary_base", "rotary_scale", "window",
        "norm", "norm_placement", "norm_epsilon", "activation", "self_attention", "cross_attention", "kernels", "remat",
        "embedding.norm", *_settings(attention=AttentionConfig, relative=RelativeConfig),
    }
)  # fmt: skip
"""What only Transformer blocks have."""

TRAITS: dict[str, Architecture] = {
    "encoder_only": Architecture({"encoder": "num_layers"}, "first", ONE_STACK),
    "decoder_only": Architecture({"decoder": "num_layers"}, "last", ONE_STACK | {"embedding.types"}),
    "seq2seq": Architecture(BOTH_STACKS, "last", RECURRENT),
    "rnn_seq2seq": Architecture(BOTH_STACKS, "last", OF_BLOCKS, _recurrent, lambda config: config.recurrent.score),
}
"""Architecture -> its row."""

UNREAD: dict[str, frozenset[str]] = {name: row.unread for name, row in TRAITS.items()}
"""Architecture -> the settings of `model` that it does not read, whatever the others are."""

NO_ATTENTION = "none"
"""The value of recurrent.attention without any."""

HEADS = frozenset({"num_heads", "num_kv_heads", "head_width"})


def _has_buckets(score: str) -> bool:
    """Whether a score has parameters of each bucket of distances."""
    return any("M" in row.axes.split() for row in find(score).parameters.values())


@dataclasses.dataclass(frozen=True)
class Idle:
    """A row: with some values of a setting, others are not read.

    Attributes:
        choice: the setting.
        holds: config -> whether it has such a value.
        names: the settings that are not read then.
        readers: what reads them; "": another value of the choice.
    """

    choice: str
    holds: Callable[[Any], bool]
    names: frozenset[str]
    readers: str = ""


IDLE: tuple[Idle, ...] = (
    Idle("recurrent.attention", lambda config: config.recurrent.score is None, HEADS),
    Idle(
        "self_attention",
        lambda config: not config.self_attention,
        frozenset({"window", "attention.score_modifier", "attention.mask"}),
    ),
    Idle("feed_forward_width", lambda config: config.feed_forward_width == 0, frozenset({"activation"})),
    Idle(
        "position",
        lambda config: not POSITIONS[config.position].rotates,
        frozenset({"rotary_base", "rotary_scale"}),
        "model.position=rotary",
    ),
    Idle(
        "position",
        lambda config: not POSITIONS[config.position].learns,
        frozenset({"relative.max_distance"}),
        "model.position=relative",
    ),
    Idle(
        "position",
        lambda config: not POSITIONS[config.position].learns and not _has_buckets(config.score),
        frozenset({"relative.buckets"}),
        "model.position=relative or model.score=position_only",
    ),
)


def unread(config: Any) -> dict[str, tuple[str, UserError]]:
    """The settings of `model` that a config does not read -> who does not, and the error of giving one."""
    architecture = config.architecture
    found = {
        name: (f"architecture {architecture!r}", not_read(f"model.{name}", architecture, UNREAD))
        for name in sorted(UNREAD[architecture])
    }
    for row in IDLE:
        if row.choice not in UNREAD[architecture] and row.holds(config):
            who = f"architecture {architecture!r} with model.{row.choice} {_value(config, row.choice)!r}"
            found.update({name: (who, _idle(name, who, row)) for name in sorted(row.names - set(found))})
    return found


def _idle(name: str, who: str, row: Idle) -> UserError:
    return problem(
        f"model.{name} is not read by {who}",
        expected=f"it only with {row.readers or f'another model.{row.choice}'}",
        do=f"Leave it out, or change model.{row.choice}.",
    )


def _value(config: Any, name: str) -> Any:
    """The value of a setting, by its name within `model`."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def reads(config: Any, name: str) -> bool:
    """Whether a config reads a setting of `model`."""
    return not schema.within(name, unread(config))


def stacks(config: Any) -> dict[str, Parts]:
    """Stack -> what its layers have -> in how many of them; of a resolved config."""
    row = TRAITS[config.architecture]
    return {stack: row.parts(config, stack, getattr(config, count)) for stack, count in row.stacks.items()}
