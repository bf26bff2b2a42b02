"""Sections of a model's settings, each a frozen dataclass with the rule that fills in its settings left at None."""

import dataclasses
from typing import Any

from transformer import schema
from transformer.models import reads
from transformer.models.reads import NO_ATTENTION
from transformer.nn.heads import POOLING, TRANSFORMS
from transformer.nn.module_rows import structure
from transformer.nn.positions import POSITIONS
from transformer.nn.recurrent.cells import CELLS
from transformer.nn.user_functions import MASKS, SCORE_MODIFIERS
from transformer.ops.norms import NORMS
from transformer.ops.scores import SCORES
from transformer.ops.weights import WEIGHTS
from transformer.schema import WIDEST, at_least, even, setting
from transformer.tables import Choice


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """Embedding of tokens as vectors."""

    scale: bool | None = setting(
        None,
        "multiplication of embeddings by sqrt(model.width); none: true where positions add a code without parameters,"
        " as sinusoidal ones do, and for rnn_seq2seq, else false",
    )
    norm: bool = setting(False, "norm of the sum of embeddings and positions, as in BERT", read_by=reads.TRANSFORMERS)
    first_norm: bool = setting(
        True,
        "norm of the first layer's first sublayer; false: none, since the embedding has one (ModernBERT)",
        read_by=(reads.TRANSFORMERS, reads.EMBEDDING_NORM),
    )
    types: int = setting(
        0,
        "number of token types (BERT's sentences A and B); 0: no types",
        check=at_least(0),
        read_by=reads.only("encoder_only", "seq2seq", "rnn_seq2seq"),
    )

    def resolved(self, position: Choice | None) -> "EmbeddingConfig":
        """Fill in `scale`; `position` is None where there are no positions.

        A table's rows have length 1, a sinusoidal code sqrt(D / 2), which would drown them: so Vaswani et al. scale.
        Without positions the gates of a recurrent cell read the embeddings, and entries of variance 1 spread them.
        """
        row = None if position is None else POSITIONS.find(position)
        derived = row is None or (row.adds is not None and not row.parameters)
        return dataclasses.replace(self, scale=derived if self.scale is None else self.scale)


@dataclasses.dataclass(frozen=True)
class ClassHeadConfig:
    """The head of a classifier, which takes the place of the token head."""

    classes: int | None = setting(None, "C, number of classes; none: the model predicts tokens", check=at_least(1))
    reads: str | None = setting(
        None,
        "pooling of hidden states for the class head; none: first for encoder_only, last for decoders",
        allowed=POOLING,
    )
    transform: str | None = setting(
        None,
        "map of the pooled state before the logits: a linear map and tanh (tanh, BERT's pooler), or a linear map,"
        " model.activation and model.norm (norm); none: no map",
        allowed=TRANSFORMS,
    )

    def resolved(self, architecture: Choice) -> "ClassHeadConfig":
        """Fill in `reads` where there are classes."""
        if self.classes is None or self.reads is not None:
            return self
        return dataclasses.replace(self, reads=structure(architecture).class_reads)


@dataclasses.dataclass(frozen=True)
class TokenHeadConfig:
    """The head that turns hidden states into the logits of tokens."""

    present: bool = setting(True, "head of tokens; false: the model returns hidden states and no logits")
    tied: bool | None = setting(
        None,
        "embedding table of the output's tokens as the kernel; none: as model.tie_embeddings; false: one of its own",
    )
    bias: bool = setting(False, "bias of the logits", read_by=reads.TOKEN_HEAD)
    transform: str | None = setting(
        None,
        "map of the hidden states before the logits: a linear map and tanh (tanh), or a linear map, model.activation"
        " and model.norm, as in BERT (norm); none: no map",
        allowed=TRANSFORMS,
        read_by=reads.TOKEN_HEAD,
    )
    scale: float = setting(
        1.0, "factor on the logits, before their bias", check=at_least(1e-6, 1e6), read_by=reads.TOKEN_HEAD
    )
    soft_cap: float | None = setting(
        None,
        "bound c of the logits, c tanh(logits / c); none: no bound",
        check=at_least(1e-6, 1e6),
        read_by=reads.TOKEN_HEAD,
    )

    def resolved(self, tie_embeddings: bool) -> "TokenHeadConfig":
        """Fill in `tied`."""
        return dataclasses.replace(self, tied=tie_embeddings if self.tied is None else self.tied)


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """Variants of attention: norms, scores, weights and masks."""

    query_key_norm: Choice | None = setting(
        None,
        "norm of each head's queries and keys; none: no norm",
        table=NORMS,
        read_by=reads.of_attention("attention.query_key_norm"),
    )
    weights: Choice = setting(
        "softmax",
        "weights from scores: softmax; sigmoid and relu, each by the number of keys; 1.5-entmax, of which many are 0",
        table=WEIGHTS,
        read_by=reads.of_attention("attention.weights"),
    )
    soft_cap: float | None = setting(
        None,
        "bound c of attention scores, c tanh(score / c); none: no bound",
        check=at_least(1e-6, 1e6),
        read_by=reads.of_attention("attention.soft_cap"),
    )
    sink: bool = setting(
        False,
        "attention sink: learned logit of each head that takes weight of the softmax and has no value",
        read_by=reads.of_attention("attention.sink"),
    )
    differential: bool = setting(
        False,
        "differential attention: difference of two maps of weights, one per half head",
        read_by=reads.of_attention("attention.differential"),
    )
    score_modifier: Choice | None = setting(
        None,
        "package.module:function of (scores_BNTS, query_positions, key_positions) that changes the scores of"
        " self-attention; none: no change",
        table=SCORE_MODIFIERS,
        read_by=(reads.SELF_ATTENTION, *reads.of_attention("attention.score_modifier", self_alone=True)),
    )
    mask: Choice | None = setting(
        None,
        "package.module:function of (query_positions, key_positions), true where self-attention may attend;"
        " none: no further mask",
        table=MASKS,
        read_by=(reads.SELF_ATTENTION, *reads.of_attention("attention.mask", self_alone=True)),
    )


@dataclasses.dataclass(frozen=True)
class RelativeConfig:
    """Buckets that distances between positions share."""

    buckets: int = setting(
        32,
        "M, number of distance buckets of position relative and score position_only",
        check=even(4, WIDEST),
        read_by=reads.BUCKETS,
    )
    max_distance: int | None = setting(
        None,
        "distance from which all share one bucket (tokens), none: 4 x model.relative.buckets",
        check=at_least(1),
        read_by=reads.RELATIVE,
    )

    def resolved(self) -> "RelativeConfig":
        """Fill in `max_distance` in the proportion of T5, 32 and 128."""
        return dataclasses.replace(self, max_distance=self.max_distance or 4 * self.buckets)


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """The layers of rnn_seq2seq."""

    cell: str = setting("gru", "recurrent cell", allowed=CELLS)
    bidirectional: bool = setting(True, "encoder in both directions, each with half of the width")
    attention: Choice = setting(
        "additive",
        "attention score function of decoder and encoder states; none: no attention, last states only",
        allowed=(NO_ATTENTION,),
        table=SCORES,
    )

    @property
    def score(self) -> Choice | None:
        """The score of the attention; None without any."""
        return None if self.attention == NO_ATTENTION else self.attention

    @property
    def directions(self) -> int:
        """Number of the encoder's directions, 1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        """Z, number of gates of the cell."""
        return len(CELLS[self.cell].gates)


def changed(settings: Any) -> dict[str, Any]:
    """Return the settings of a config that are not at their defaults, as a nested dict."""
    values, defaults = schema.to_dict(settings), schema.to_dict(type(settings)())
    own = {name: value for name, value in values.items() if value != defaults[name]}
    for section in schema.sections(type(settings)):
        part = values[section]
        own[section] = {name: value for name, value in part.items() if value != defaults[section][name]}
    return own
