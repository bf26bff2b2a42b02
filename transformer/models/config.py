"""What a model is made of: one frozen dataclass, checked before anything is built.

Settings left at None are derived (see `ModelConfig.resolved`). What each architecture does not read stands in
`architectures`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from transformer import schema
from transformer.errors import problem
from transformer.models.reads import NO_ATTENTION, TRAITS, UNREAD, reads, unread
from transformer.models.variants import AttentionConfig, RelativeConfig, check_variants
from transformer.nn.blocks import NORM_PLACEMENTS
from transformer.nn.feed_forward import ACTIVATIONS
from transformer.nn.heads import READS
from transformer.nn.positions import POSITIONS
from transformer.nn.recurrent.cells import CELLS
from transformer.ops.attend import KERNELS
from transformer.ops.norms import NORMS
from transformer.ops.scores import SCORES, find
from transformer.schema import above, at_least, fraction, setting


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """How tokens become vectors."""

    scale: bool | None = setting(
        None, "multiply embeddings by sqrt(width); none: with sinusoidal positions, and before an RNN"
    )
    norm: bool = setting(False, "normalise after positions are added, as BERT does")
    types: int = setting(0, "number of token types (BERT's sentences A and B); 0: none", check=at_least(0))

    def resolved(self, position: str | None) -> "EmbeddingConfig":
        """With `scale` filled in; `position` is None where there are none.

        A table's rows have length 1, a sinusoidal code sqrt(D / 2), which would drown them: so Vaswani et al. scale.
        Without positions the gates of a recurrent cell read the embeddings, and entries of variance 1 spread them.
        """
        derived = position is None or POSITIONS[position].adds == "code"
        return dataclasses.replace(self, scale=derived if self.scale is None else self.scale)


@dataclasses.dataclass(frozen=True)
class ClassHeadConfig:
    """The head of a classifier, which takes the place of the token head."""

    classes: int | None = setting(None, "C, number of classes; none: the model says tokens", check=at_least(1))
    reads: str | None = setting(
        None, "the hidden states it reads; none: first for encoder_only, last for a decoder", allowed=READS
    )

    def resolved(self, architecture: str) -> "ClassHeadConfig":
        """With `reads` filled in where there are classes."""
        if self.classes is None or self.reads is not None:
            return self
        return dataclasses.replace(self, reads=TRAITS[architecture].class_reads)


@dataclasses.dataclass(frozen=True)
class RecurrentConfig:
    """The layers of rnn_seq2seq."""

    cell: str = setting("gru", "how a state takes in an input", allowed=CELLS)
    bidirectional: bool = setting(True, "the encoder reads both ways, each with half of the width")
    attention: str = setting(
        "additive",
        "how a state of the source answers the decoder's; none: it sees the last states alone",
        allowed=(NO_ATTENTION, *SCORES),
        by_path=True,
    )

    @property
    def score(self) -> str | None:
        """The score of the attention; None without any."""
        return None if self.attention == NO_ATTENTION else self.attention

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        return len(CELLS[self.cell].gates)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """All settings of a model. `transformer.build` takes one, or a dict of its fields."""

    architecture: str = setting("seq2seq", "encoder_only, decoder_only, seq2seq or rnn_seq2seq", allowed=UNREAD)
    vocab_size: int | None = setting(None, "V, number of tokens; none: the tokenizer's", check=at_least(1))
    max_length: int | None = setting(
        None,
        "P, longest sequence that learned positions can tell; none: what the data needs",
        check=at_least(1),
    )
    num_layers: int = setting(2, "L, blocks in each stack", check=at_least(1))
    num_encoder_layers: int | None = setting(None, "blocks of the encoder; none: num_layers", check=at_least(1))
    num_decoder_layers: int | None = setting(None, "blocks of the decoder; none: num_layers", check=at_least(1))
    width: int = setting(128, "D, width of the residual stream", check=at_least(1))
    num_heads: int = setting(4, "N, query heads", check=at_least(1))
    num_kv_heads: int | None = setting(None, "K, key/value heads, N = K x G; none: num_heads", check=at_least(1))
    head_width: int | None = setting(None, "H; none: width / num_heads", check=at_least(1))
    feed_forward_width: int | None = setting(None, "F; none: 4 x width; 0: no feed-forward", check=at_least(0))
    score: str = setting("scaled_dot", "how a key answers a query", allowed=SCORES, by_path=True)
    position: str = setting("sinusoidal", "how positions enter", allowed=POSITIONS)
    rotary_base: float | tuple[float, ...] = setting(
        10_000.0, "base of rotary positions' wavelengths, of all layers or of each", check=above(1.0)
    )
    rotary_scale: float = setting(1.0, "rotary's slowest turn is this many times slower (NTK-aware)", check=at_least(1))
    window: int | tuple[int | None, ...] | None = setting(
        None, "self-attention sees less than this far, in all layers or in each; none: all", check=at_least(1)
    )
    norm: str = setting("layer", "layer norm or RMS norm", allowed=NORMS)
    norm_placement: str = setting("pre", "norm before each sublayer, after it, or both", allowed=NORM_PLACEMENTS)
    norm_epsilon: float = setting(1e-5, "added to the variance", check=above(0.0))
    activation: str = setting("relu", "of the feed-forward", allowed=ACTIVATIONS)
    bias: bool = setting(True, "biases in linear maps and layer norms")
    dropout: float | None = setting(None, "rate on embeddings, weights and sublayers; none: no dropout", check=fraction)
    self_attention: bool = setting(True, "False: neither stack has any; positions see others by cross-attention alone")
    cross_attention: bool = setting(True, "False: the decoder sees nothing of the source (a control)")
    tie_embeddings: bool = setting(True, "one table for source, target and output")
    dtype: str = setting("float32", "compute type; parameters stay float32", allowed=("float32", "bfloat16"))
    kernels: str = setting("plain", "plain definition, or fused attention", allowed=KERNELS, changes_result=False)
    unroll: bool = setting(
        False, "unroll the scan over layers, unless remat; changes no checkpoint", changes_result=False
    )
    remat: bool = setting(False, "recompute blocks in the backward pass, to save memory", changes_result=False)
    embedding: EmbeddingConfig = setting(EmbeddingConfig, "how tokens become vectors")
    class_head: ClassHeadConfig = setting(ClassHeadConfig, "the head of a classifier")
    attention: AttentionConfig = setting(AttentionConfig, "what stands between queries, keys and weights")
    relative: RelativeConfig = setting(RelativeConfig, "how distances share buckets")
    recurrent: RecurrentConfig = setting(RecurrentConfig, "the layers of rnn_seq2seq")

    @property
    def compute_dtype(self) -> jnp.dtype:
        return jnp.dtype(self.dtype)

    def resolved(self) -> "ModelConfig":
        """The config with every derivable None filled in, and checked as a whole.

        Raises:
            UserError: settings that contradict each other.
        """
        derived = {
            "feed_forward_width": 4 * self.width if self.feed_forward_width is None else self.feed_forward_width,
            "num_encoder_layers": self.num_encoder_layers or self.num_layers,
            "num_decoder_layers": self.num_decoder_layers or self.num_layers,
            **(self._heads() if reads(self, "num_heads") else {}),
        }
        config = dataclasses.replace(
            self,
            **{name: value for name, value in derived.items() if reads(self, name)},
            embedding=self.embedding.resolved(self.position if reads(self, "position") else None),
            class_head=self.class_head.resolved(self.architecture),
            relative=self.relative.resolved() if reads(self, "relative.buckets") else self.relative,
        )
        config._check_positions()
        check_variants(config)
        if reads(self, "recurrent.bidirectional") and self.width % self.recurrent.directions:
            raise problem(
                "an encoder that reads both ways gives half of model.width to each",
                got=f"width {self.width}",
                expected="even",
                do="Set model.recurrent.bidirectional=false, or another model.width.",
            )
        if reads(self, "recurrent.attention") and self.recurrent.score and find(self.recurrent.score).reads_positions:
            raise problem(
                "model.recurrent.attention looks the source up by what is there, not by where",
                got=self.recurrent.attention,
                expected="a score of queries and keys, or none",
            )
        return config

    def _heads(self) -> dict[str, int]:
        """num_kv_heads and head_width."""
        if self.head_width is None and self.width % self.num_heads:
            raise problem(
                "model.width is not divisible by model.num_heads",
                got=f"width {self.width}, num_heads {self.num_heads}",
                expected="width = num_heads x head_width",
                do=f"Try width {-(-self.width // self.num_heads) * self.num_heads}, or set model.head_width.",
            )
        kv_heads = self.num_kv_heads or self.num_heads
        if self.num_heads % kv_heads:
            raise problem(
                "model.num_heads is not divisible by model.num_kv_heads",
                got=f"num_heads {self.num_heads}, num_kv_heads {kv_heads}",
                expected="num_kv_heads that divides num_heads",
            )
        return {"num_kv_heads": kv_heads, "head_width": self.head_width or self.width // self.num_heads}

    def _check_positions(self) -> None:
        """Raises a UserError for positions that have nothing to work on."""
        row = POSITIONS[self.position]
        if (row.rotates or row.bias is not None) and not self.self_attention:
            raise problem(
                f"{self.position} positions work within self-attention",
                got="model.self_attention false",
                do="Set model.position to one that is added to the embeddings, or to none.",
            )
        if row.rotates and self.head_width % 2:
            raise problem(
                "rotary positions turn pairs of entries", got=f"head_width {self.head_width}", expected="even"
            )


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """A ModelConfig from a dict of its fields, resolved.

    Raises:
        UserError: an unknown, mistyped, contradictory or unread setting.
    """
    config = schema.from_dict(ModelConfig, values, "model")
    given = schema.flatten(values)
    for name, (_, error) in unread(config).items():
        if name in given:
            raise error
    return config.resolved()


def changed(config: ModelConfig) -> dict[str, Any]:
    """The settings of a config that are not at their defaults, as a nested dict."""
    values, defaults = schema.to_dict(config), schema.to_dict(ModelConfig())
    own = {name: value for name, value in values.items() if value != defaults[name]}
    for section in schema.sections(ModelConfig):
        part = values[section]
        own[section] = {name: value for name, value in part.items() if value != defaults[section][name]}
    return own
