"""Settings that the modules of `nn` read, as protocols: any object with these attributes configures them.

`transformer.ModelConfig` is one, without being named here, since `nn` lies below `models`. Attributes are read-only.
The protocols describe a resolved config: what resolving fills in, and the `vocab_size` that `build` requires, is an
int, a str or a bool here, where a `ModelConfig` may have None. Resolving leaves None where the architecture does not
read a setting; no module may read it then.
"""

from typing import Protocol, TypeVar, runtime_checkable

import jax.numpy as jnp
from jax import Array

from transformer.errors import problem
from transformer.tables import Choice

T = TypeVar("T")


def of_layer(own: Array | None, shared: T | tuple[T, ...]) -> Array | T:
    """Return a layer's own value of a setting, or the value that all layers share.

    Raises:
        UserError: the setting has a value for each layer, and the layer was not given its own.
    """
    if own is not None:
        return own
    if isinstance(shared, tuple):
        raise problem("a setting with one value per layer needs the layer's own value", got=shared)
    return shared


@runtime_checkable
class EmbeddingSettings(Protocol):
    """The section `embedding`."""

    @property
    def scale(self) -> bool:
        """Multiplication of embeddings by sqrt(width)."""

    @property
    def norm(self) -> bool:
        """Norm after positions are added."""

    @property
    def first_norm(self) -> bool:
        """Norm of the first layer's first sublayer."""

    @property
    def types(self) -> int:
        """A, number of token types; 0: none."""


@runtime_checkable
class ClassHeadSettings(Protocol):
    """The section `class_head`."""

    @property
    def classes(self) -> int | None:
        """C, number of classes; None: the model predicts tokens."""

    @property
    def reads(self) -> str:
        """Row of `nn.heads.POOLING`, of a model that predicts classes."""

    @property
    def transform(self) -> str | None:
        """One of `nn.heads.TRANSFORMS`; None: no map."""


@runtime_checkable
class TokenHeadSettings(Protocol):
    """The section `token_head`."""

    @property
    def present(self) -> bool:
        """Head of tokens; False: the model returns hidden states."""

    @property
    def tied(self) -> bool:
        """Embedding table in place of a kernel of the head's own."""

    @property
    def bias(self) -> bool:
        """Bias of the logits."""

    @property
    def transform(self) -> str | None:
        """One of `nn.heads.TRANSFORMS`; None: no map."""

    @property
    def scale(self) -> float:
        """Factor on the logits."""

    @property
    def soft_cap(self) -> float | None:
        """Bound of the logits, cap tanh(logits / cap); None: no bound."""


@runtime_checkable
class AttentionSettings(Protocol):
    """The section `attention`."""

    @property
    def query_key_norm(self) -> Choice | None:
        """Norm of each head's queries and keys, as `ops.norms.NORMS` finds it; None: no norm."""

    @property
    def weights(self) -> Choice:
        """Weights from scores, as `ops.weights.WEIGHTS` finds them."""

    @property
    def soft_cap(self) -> float | None:
        """Bound of the scores, cap tanh(scores / cap); None: no bound."""

    @property
    def sink(self) -> bool:
        """Learned logit of each head that takes weight and has no value."""

    @property
    def differential(self) -> bool:
        """Difference of two maps of weights, of the halves of each head."""

    @property
    def score_modifier(self) -> Choice | None:
        """The user's own score modifier, as `nn.user_functions.SCORE_MODIFIERS` finds it; None: there is none."""

    @property
    def mask(self) -> Choice | None:
        """The user's own mask, as `nn.user_functions.MASKS` finds it; None: there is none."""


@runtime_checkable
class RelativeSettings(Protocol):
    """The section `relative`."""

    @property
    def buckets(self) -> int:
        """M, number of buckets of distances."""

    @property
    def max_distance(self) -> int:
        """Distance from which all share a bucket (tokens)."""


@runtime_checkable
class RecurrentSettings(Protocol):
    """The section `recurrent`."""

    @property
    def cell(self) -> str:
        """Row of `nn.recurrent.cells.CELLS`."""

    @property
    def bidirectional(self) -> bool:
        """Encoder in both directions, each with half of the width."""

    @property
    def score(self) -> Choice | None:
        """Score of the decoder's attention, as `ops.scores.SCORES` finds it; None: no attention."""

    @property
    def directions(self) -> int:
        """Number of the encoder's directions, 1 or 2."""

    @property
    def gates(self) -> int:
        """Z, number of gates of the cell."""


@runtime_checkable
class ModelSettings(Protocol):
    """The settings of a model that its modules, and the axes of their parameters, follow from."""

    @property
    def architecture(self) -> Choice:
        """Architecture, as `nn.module_rows.ARCHITECTURES` finds it."""

    @property
    def vocab_size(self) -> int:
        """V, number of tokens."""

    @property
    def max_length(self) -> int | None:
        """P, longest sequence of learned positions (tokens)."""

    @property
    def num_layers(self) -> int:
        """L, layers of a model with one stack."""

    @property
    def num_encoder_layers(self) -> int:
        """Layers of the encoder, of a model with two stacks."""

    @property
    def num_decoder_layers(self) -> int:
        """Layers of the decoder, of a model with two stacks."""

    @property
    def width(self) -> int:
        """D, width of the residual stream."""

    @property
    def num_heads(self) -> int:
        """N, number of query heads."""

    @property
    def num_kv_heads(self) -> int:
        """K, number of key/value heads."""

    @property
    def head_width(self) -> int:
        """H, width of a head."""

    @property
    def mixer(self) -> Choice:
        """Mixer of a sequence's tokens, as `nn.mixers.MIXERS` finds it."""

    @property
    def feed_forward(self) -> Choice:
        """Kind of feed-forward, as `nn.module_rows.FEED_FORWARDS` finds it."""

    @property
    def feed_forward_width(self) -> int:
        """F, width of the feed-forward; 0: no feed-forward."""

    @property
    def score(self) -> Choice:
        """Attention score function, as `ops.scores.SCORES` finds it."""

    @property
    def position(self) -> Choice:
        """Positions, as `nn.positions.POSITIONS` finds them."""

    @property
    def rotary_base(self) -> float | tuple[float, ...]:
        """Base of rotary positions' wavelengths, one value or one per layer."""

    @property
    def rotary_scale(self) -> float:
        """Factor on the longest rotary wavelength."""

    @property
    def window(self) -> int | tuple[int | None, ...] | None:
        """Sliding window of self-attention (tokens), one value or one per layer; None: unlimited."""

    @property
    def encoder_window(self) -> int | tuple[int | None, ...] | None:
        """Sliding window of the encoder of a model with two stacks; None: that of `window`."""

    @property
    def norm(self) -> Choice:
        """Norm, as `ops.norms.NORMS` finds it."""

    @property
    def norm_placement(self) -> Choice:
        """Layout of a block, as `nn.block_layout.BLOCK_LAYOUTS` finds it."""

    @property
    def norm_epsilon(self) -> float:
        """Number that norms add to the variance."""

    @property
    def activation(self) -> Choice:
        """Activation function of the feed-forward, as `nn.feed_forward.ACTIVATIONS` finds it."""

    @property
    def bias(self) -> bool:
        """Biases in linear maps and layer norms."""

    @property
    def self_attention(self) -> bool:
        """Self-attention in the blocks."""

    @property
    def cross_attention(self) -> bool:
        """Cross-attention in the decoder's blocks, of a model with two stacks."""

    @property
    def tie_embeddings(self) -> bool:
        """One table for source, target and output."""

    @property
    def compute_dtype(self) -> jnp.dtype:
        """Type of activations; parameters are float32."""

    @property
    def kernels(self) -> str:
        """Row of `ops.kernels.KERNELS`."""

    @property
    def unroll(self) -> bool:
        """Scan over layers unrolled."""

    @property
    def remat(self) -> bool:
        """Blocks recomputed in the backward pass."""

    @property
    def remat_policy(self) -> str:
        """Row of `nn.stack.REMATS`."""

    @property
    def embedding(self) -> EmbeddingSettings:
        """Section of the embeddings."""

    @property
    def class_head(self) -> ClassHeadSettings:
        """Section of the classifier's head."""

    @property
    def token_head(self) -> TokenHeadSettings:
        """Section of the head of tokens."""

    @property
    def attention(self) -> AttentionSettings:
        """Section of what stands between queries, keys and weights."""

    @property
    def relative(self) -> RelativeSettings:
        """Section of the buckets of distances."""

    @property
    def recurrent(self) -> RecurrentSettings:
        """Section of the recurrent layers."""


def window_of(config: ModelSettings, stack: str) -> int | tuple[int | None, ...] | None:
    """Return the sliding window of a stack's self-attention (tokens), one value or one per layer; None: unlimited."""
    own = config.encoder_window if stack == "encoder" else None
    return config.window if own is None else own


def longest_window(config: ModelSettings) -> int | None:
    """Return the largest sliding window of self-attention (tokens); None where a layer sees all tokens before."""
    sizes = config.window if isinstance(config.window, tuple) else (config.window,)
    known = [size for size in sizes if size is not None]
    return max(known) if known and len(known) == len(sizes) else None
