"""ModelConfig: the settings of a model, one frozen dataclass, checked before anything is built.

Settings left at None are derived (see `ModelConfig.resolved`). A field's `read_by` names the architectures and variants
that read it; settings that contradict each other are in `models.contradictions`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

import jax.numpy as jnp

from transformer import schema
from transformer.errors import problem
from transformer.models import contradictions, reads
from transformer.models.sections import (
    AttentionConfig,
    ClassHeadConfig,
    EmbeddingConfig,
    RecurrentConfig,
    RelativeConfig,
    TokenHeadConfig,
    changed,
)
from transformer.named_code import import_code
from transformer.nn.block_layout import BLOCK_LAYOUTS
from transformer.nn.feed_forward import ACTIVATIONS
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import ARCHITECTURES, FEED_FORWARDS
from transformer.nn.positions import POSITIONS
from transformer.nn.settings import ModelSettings
from transformer.nn.stack import REMATS
from transformer.ops.kernels import KERNELS
from transformer.ops.norms import NORMS
from transformer.ops.scores import SCORES
from transformer.read_by import unread
from transformer.schema import WIDEST, above, at_least, fraction, setting
from transformer.tables import Choice

__all__ = [
    "AttentionConfig",
    "ClassHeadConfig",
    "EmbeddingConfig",
    "ModelConfig",
    "RecurrentConfig",
    "RelativeConfig",
    "TokenHeadConfig",
    "changed",
    "model_config",
]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """All settings of a model. `transformer.build` takes one, or a dict of its fields."""

    architecture: Choice = setting("seq2seq", "architecture of the model", table=ARCHITECTURES)
    vocab_size: int | None = setting(
        None, "V, number of tokens in the vocabulary; none: the tokenizer's", check=at_least(1)
    )
    max_length: int | None = setting(
        None,
        "P, maximum sequence length of the data, and of the table of learned positions (tokens), beyond which other"
        " positions go on; none: the data's",
        check=at_least(1),
    )
    num_layers: int = setting(
        2,
        "L, number of layers of each stack",
        check=at_least(1, 10_000),
        read_by=reads.ONE_OF_BOTH_STACKS,
    )
    num_encoder_layers: int | None = setting(
        None, "number of encoder layers; none: model.num_layers", check=at_least(1, 10_000), read_by=reads.TWO_STACKS
    )
    num_decoder_layers: int | None = setting(
        None, "number of decoder layers; none: model.num_layers", check=at_least(1, 10_000), read_by=reads.TWO_STACKS
    )
    width: int = setting(128, "D, width of the hidden states", check=at_least(1, WIDEST))
    num_heads: int = setting(
        4,
        "N, number of query heads",
        check=at_least(1, WIDEST),
        read_by=(reads.ATTENTION, reads.ATTENDS, *reads.of_attention("num_heads")),
    )
    num_kv_heads: int | None = setting(
        None,
        "K, number of key/value heads, a divisor of model.num_heads; none: the same",
        check=at_least(1, WIDEST),
        read_by=(reads.ATTENTION, reads.ATTENDS, *reads.of_attention("num_kv_heads")),
    )
    head_width: int | None = setting(
        None,
        "H, width of a head; none: model.width / model.num_heads",
        check=at_least(1, WIDEST),
        read_by=(reads.ATTENTION, reads.ATTENDS, *reads.of_attention("head_width")),
    )
    mixer: Choice = setting(
        "attention",
        "mixer of a sequence's tokens: self-attention, or in its place linear attention, whose cache does not grow",
        table=MIXERS,
        read_by=(reads.TRANSFORMERS, reads.SELF_ATTENTION),
    )
    feed_forward: Choice = setting("mlp", "kind of feed-forward", table=FEED_FORWARDS, read_by=reads.TRANSFORMERS)
    feed_forward_width: int | None = setting(
        None,
        "F, hidden width of the feed-forward; none: 4 x model.width; 0: no feed-forward",
        check=at_least(0, 4 * WIDEST),
        read_by=(reads.TRANSFORMERS, reads.HIDDEN_WIDTH),
    )
    score: Choice = setting(
        "scaled_dot",
        "attention score function of query and key",
        table=SCORES,
        read_by=(reads.TRANSFORMERS, reads.ATTENDS, *reads.of_attention("score")),
    )
    position: Choice = setting("sinusoidal", "position encoding", table=POSITIONS, read_by=reads.TRANSFORMERS)
    rotary_base: float | tuple[float, ...] = setting(
        10_000.0,
        "base of the wavelengths of rotary positions, one value or one per layer",
        check=above(1.0, 1e12),
        read_by=(reads.TRANSFORMERS, reads.ROTARY),
    )
    rotary_scale: float = setting(
        1.0,
        "factor on the longest wavelength of rotary positions (NTK-aware scaling)",
        check=at_least(1.0, 1e6),
        read_by=(reads.TRANSFORMERS, reads.ROTARY),
    )
    window: int | tuple[int | None, ...] | None = setting(
        None,
        "sliding window of self-attention (tokens), one value or one per layer; none: unlimited",
        check=at_least(1),
        read_by=(reads.TRANSFORMERS, reads.SELF_ATTENTION, *reads.of_attention("window", self_alone=True)),
    )
    encoder_window: int | tuple[int | None, ...] | None = setting(
        None,
        "sliding window of the encoder's self-attention (tokens), one value or one per layer; none: as model.window",
        check=at_least(1),
        read_by=(reads.SEQ2SEQ, reads.SELF_ATTENTION, *reads.of_attention("window", self_alone=True)),
    )
    norm: Choice = setting(
        "layer", "kind of norm: layer norm, or RMS norm without a mean", table=NORMS, read_by=reads.TRANSFORMERS
    )
    norm_placement: Choice = setting(
        "pre",
        "layout of a block: the norm before each sublayer (pre), after it (post), both (sandwich), or one before all"
        " sublayers side by side (parallel)",
        table=BLOCK_LAYOUTS,
        read_by=reads.TRANSFORMERS,
    )
    norm_epsilon: float = setting(
        1e-5, "constant that norms add to the variance", check=at_least(1e-20, 1e3), read_by=reads.TRANSFORMERS
    )
    activation: Choice = setting(
        "relu",
        "activation function of the feed-forward",
        table=ACTIVATIONS,
        read_by=(reads.TRANSFORMERS, reads.FEED_FORWARD, reads.ACTIVATION),
    )
    bias: bool = setting(True, "biases in linear maps and layer norms")
    dropout: float | None = setting(
        None, "dropout rate of embeddings, attention weights and sublayers; none: no dropout", check=fraction
    )
    self_attention: bool = setting(
        True, "self-attention in both stacks; false: cross-attention alone", read_by=reads.SEQ2SEQ
    )
    cross_attention: bool = setting(
        True, "cross-attention; false: the decoder reads nothing of the source (a control)", read_by=reads.SEQ2SEQ
    )
    tie_embeddings: bool = setting(True, "one embedding table for source, target and output; false: one each")
    dtype: str = setting("float32", "type of the computation; parameters stay float32", allowed=("float32", "bfloat16"))
    kernels: str = setting(
        "plain",
        "form of attention and norms: the definition (plain), faster ones where they compute the same (fast), faster"
        " ones alone, with an error where attention has none (fused), or one form of attention by its name",
        allowed=KERNELS,
        changes_result=False,
        read_by=reads.TRANSFORMERS,
    )
    unroll: bool = setting(
        False,
        "layers one after the other in the program, where there are 12 at most and none is computed again, in place of"
        " a loop: faster steps, slower compiling, the same checkpoints",
        changes_result=False,
    )
    remat: bool = setting(
        False,
        "layers computed again in the backward pass, in a loop: less memory, slower steps",
        changes_result=False,
        read_by=reads.TRANSFORMERS,
    )
    remat_policy: str = setting(
        "everything",
        "part of a layer that is computed again: everything, all but products of matrices (all_but_products), or all"
        " but products with parameters (all_but_linear)",
        allowed=tuple(REMATS),
        changes_result=False,
        read_by=(reads.TRANSFORMERS, reads.REMAT),
    )
    embedding: EmbeddingConfig = setting(EmbeddingConfig, "embedding of tokens")
    class_head: ClassHeadConfig = setting(ClassHeadConfig, "head of a classifier")
    token_head: TokenHeadConfig = setting(TokenHeadConfig, "head of tokens", read_by=reads.TOKENS)
    attention: AttentionConfig = setting(
        AttentionConfig, "variants of attention", read_by=(reads.TRANSFORMERS, reads.ATTENDS)
    )
    relative: RelativeConfig = setting(
        RelativeConfig,
        "buckets of distances",
        read_by=(reads.TRANSFORMERS, *reads.of_attention("position", "score")),
    )
    recurrent: RecurrentConfig = setting(RecurrentConfig, "layers of rnn_seq2seq", read_by=reads.RECURRENT)

    @property
    def compute_dtype(self) -> jnp.dtype:
        """Type of activations."""
        return jnp.dtype(self.dtype)

    def resolved(self) -> "ModelConfig":
        """Fill in every setting at None that can be derived, and check the config as a whole.

        A config is checked once: the result is kept with it, and is its own result.

        Raises:
            UserError: a value that is not allowed, a setting that is not read, or settings that contradict each other.
        """
        return self._resolved

    @functools.cached_property
    def _resolved(self) -> "ModelConfig":
        return _whole(changed(self), quiet=True)

    @property
    def as_settings(self) -> ModelSettings:
        """This config, typed as resolved: the settings that are filled in are not None."""
        return cast(ModelSettings, self)

    def with_sizes(self, vocab_size: int, max_length: int | None, classes: int | None) -> "ModelConfig":
        """Resolve the config and fill in the sizes of the data, which contradict no other setting.

        Raises:
            UserError: a size that is not allowed.
        """
        sizes: dict[str, Any] = {"vocab_size": vocab_size, "max_length": max_length, "class_head.classes": classes}
        leaves = schema.settings(ModelConfig)
        for name, size in sizes.items():
            schema.checked(size, dataclasses.replace(leaves[name], name=f"model.{name}"))
        config = self.resolved()
        head = dataclasses.replace(config.class_head, classes=classes).resolved(config.architecture)
        of_tokens = config.token_head if classes is None else TokenHeadConfig()
        sizes |= {"class_head": head, "token_head": of_tokens}
        return _mark(dataclasses.replace(config, **{name: x for name, x in sizes.items() if "." not in name}))

    def _derived(self) -> "ModelConfig":
        """Fill in the settings at None of those that are read."""
        unread_settings = unread(self, "model")

        def is_read(name: str) -> bool:
            return f"model.{name}" not in unread_settings

        derived: dict[str, Any] = {
            "feed_forward_width": 4 * self.width if self.feed_forward_width is None else self.feed_forward_width,
            "num_encoder_layers": self.num_encoder_layers or self.num_layers,
            "num_decoder_layers": self.num_decoder_layers or self.num_layers,
        }
        head = unread_settings.get("model.head_width")
        heads: dict[str, Any] = self._heads() if head is None or head.noted else {}
        return dataclasses.replace(
            self,
            **{name: value for name, value in derived.items() if is_read(name)},
            **heads,
            embedding=self.embedding.resolved(self.position if is_read("position") else None),
            class_head=self.class_head.resolved(self.architecture),
            token_head=self.token_head.resolved(self.tie_embeddings) if is_read("token_head.tied") else self.token_head,
            relative=self.relative.resolved() if is_read("relative.max_distance") else self.relative,
        )

    def _heads(self) -> dict[str, int]:
        """Derive num_kv_heads and head_width."""
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


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """Build a ModelConfig from a dict of its fields, check it as a whole and resolve it.

    Raises:
        UserError: an unknown, mistyped, contradictory or unread setting.
    """
    return _whole(values, quiet=False)


def _whole(values: Mapping[str, Any], *, quiet: bool) -> ModelConfig:
    """Build the resolved config of a dict of fields.

    Args:
        quiet: True where settings may be given beside others that are read in their place, as in a config that was
            resolved before; see `transformer.read_by.Condition`.
    """
    config = schema.from_dict(ModelConfig, values, "model")
    import_code(config, "model")
    given = schema.flatten(values, "model.")
    for name, found in unread(config, "model").items():
        if name in given and not found.noted and not (quiet and found.quiet):
            raise found.error(given[name])
    config = config._derived()
    contradictions.check(config.as_settings)
    return _mark(config)


def _mark(config: ModelConfig) -> ModelConfig:
    """Mark a config as resolved: it is its own result. `dataclasses.replace` drops the mark."""
    object.__setattr__(config, "_resolved", config)
    return config
