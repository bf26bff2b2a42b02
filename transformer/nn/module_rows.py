"""Rows that are Linen modules, with the parameters that they bring along: feed-forwards and whole architectures.

The tables stand below the modules, since the axes and initial values of parameters (`nn.parameters`) are found by
them; so the project's own rows name their classes by a path, which is imported when a model is built.
"""

import dataclasses
import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn

from transformer.errors import look_up, problem, shorten, unknown, with_article
from transformer.tables import Parameter, Row, Table


@dataclasses.dataclass(frozen=True, eq=False)
class ModuleRow(Row):
    """A row that is a Linen module.

    Attributes:
        module: class of the module, or its path package.module:class; of a row with settings it also has the attribute
            `settings`.
        parameters: "owner.name" -> axes and initial values, of the module's parameters that no row of
            `transformer.nn.parameter_axes.AXES` has; owner and name are the last two parts of a parameter's path, and
            the owner may be a pattern, "layer_*".
        by_linear: True where its parameters called "kernel" are all read by `nn.modules.Linear`, so that generation may
            store them as `ops.linear.Kernel`.
    """

    module: Any
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)
    by_linear: bool = dataclasses.field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        is_module = isinstance(self.module, type) and issubclass(self.module, nn.Module)
        if not is_module and not isinstance(self.module, str):
            what = f"the module of {with_article(type(self).__name__)} is no class of a Linen module"
            raise problem(what, got=shorten(repr(self.module)), expected="a subclass of flax.linen.Module")
        for name in self.parameters:
            if name.count(".") != 1:
                raise problem("a parameter of a row has no owner", got=repr(name), expected='"owner.name"')

    def make(self, *values: Any, **named: Any) -> nn.Module:
        """Make the module."""
        kind = look_up("module", {}, self.module) if isinstance(self.module, str) else self.module
        made: nn.Module = kind(*values, **self.own, **named)
        return made

    def brought(self, owner: str) -> dict[str, Parameter]:
        """Return the parameters of an owner, by name."""
        named = {tuple(name.partition(".")): row for name, row in self.parameters.items()}
        return {name: row for (own, _, name), row in named.items() if fnmatch.fnmatchcase(owner, own)}


@dataclasses.dataclass(frozen=True, eq=False)
class FeedForwardRow(ModuleRow):
    """A row of FEED_FORWARDS.

    The module has the attribute `config` and is called with (x_BTD, recorder); it returns B T D, and records "hidden"
    (B T F) and "output" (B T D) where it has them.

    Attributes:
        reads_activation: True where it reads model.activation.
        reads_width: True where it reads model.feed_forward_width.
    """

    reads_activation: bool = True
    reads_width: bool = True


FEED_FORWARDS = Table(
    "feed_forward",
    FeedForwardRow,
    {"mlp": FeedForwardRow("transformer.nn.feed_forward:FeedForward", by_linear=True)},
    make=FeedForwardRow,
    expected="a class of a Linen module (config) that is called with (x_BTD, recorder), or a"
    " transformer.nn.module_rows.FeedForwardRow",
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """The structure that an architecture has in common with those like it.

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
"""Family of architectures, named after the project's own one -> what all of the family have in common."""


@dataclasses.dataclass(frozen=True, eq=False)
class Architecture(ModuleRow):
    """A row of ARCHITECTURES.

    The module has the attributes `config` and `request`, and the methods of the project's module of its family:
    `__call__(batch, dropout)`, `start(batch, steps)` and `step(tokens_B, cache)` to decode, `embed` and `unembed` for
    those who look inside.

    Attributes:
        like: the family, a row of STRUCTURES: tasks frame batches as for it, and its settings are read.
        parts: the parts of a layer whose activations the module records, such as "self" and "residual"; None: those of
            the family.
    """

    like: str = "decoder_only"
    parts: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.like not in STRUCTURES:
            raise unknown("family of an architecture", str(self.like), STRUCTURES)

    @property
    def structure(self) -> Structure:
        """The row of STRUCTURES of its family."""
        return STRUCTURES[self.like]


ROWS: dict[str, Architecture] = {
    "encoder_only": Architecture("transformer.models.encoder_only:EncoderOnly", like="encoder_only"),
    "decoder_only": Architecture("transformer.models.decoder_only:DecoderOnly", like="decoder_only"),
    "seq2seq": Architecture("transformer.models.seq2seq:Seq2Seq", like="seq2seq"),
    "rnn_seq2seq": Architecture("transformer.models.rnn_seq2seq:RnnSeq2Seq", like="rnn_seq2seq"),
}

ARCHITECTURES = Table(
    "architecture",
    Architecture,
    ROWS,
    make=Architecture,
    expected="a class of a Linen module (config, request), or a transformer.nn.module_rows.Architecture",
)


def family(architecture: Any) -> str:
    """Return the project's own architecture that one is like; that of a built-in one is itself.

    >>> family("seq2seq")
    'seq2seq'
    """
    return ARCHITECTURES.find(architecture, "model.architecture").like


def structure(architecture: Any) -> Structure:
    """Return the structure of an architecture."""
    return STRUCTURES[family(architecture)]


def brought_by(rows: Iterable[ModuleRow], owner: str) -> dict[str, Parameter]:
    """Return the parameters that rows bring along for an owner."""
    return {name: own for row in rows for name, own in row.brought(owner).items()}
