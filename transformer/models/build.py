"""`build(config)`: a model as pure functions of its parameters."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from transformer.errors import problem
from transformer.models.common import entries
from transformer.models.config import ModelConfig, changed, model_config
from transformer.models.decoder_only import DecoderOnly
from transformer.models.encoder_only import EncoderOnly
from transformer.models.reads import TRAITS, Parts, stacks
from transformer.models.rnn_seq2seq import RnnSeq2Seq
from transformer.models.seq2seq import Seq2Seq
from transformer.nn.dropout import Noise
from transformer.nn.intermediates import Request, check, request
from transformer.nn.parameters import initial_values, parameter_axes
from transformer.nn.positions import POSITIONS
from transformer.ops.scores import find

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "encoder_only": EncoderOnly,
    "decoder_only": DecoderOnly,
    "seq2seq": Seq2Seq,
    "rnn_seq2seq": RnnSeq2Seq,
}

Params = dict[str, Any]
Batch = Mapping[str, ArrayLike]
Replace = Mapping[str, Callable[[Array], Array]]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model: its config and its Linen module. It holds no arrays; every method is pure and can be jitted."""

    config: ModelConfig
    module: nn.Module

    def init(self, key: Array, scale: float | Array = 1.0) -> Params:
        """Draw the parameters, float32, as a nested dict; matrices and tables times `scale`, which may be traced.

        Each parameter is drawn by itself, from `key` and its path: models of other variants start the parameters that
        they share alike, and the layers that they share too. `self.module.init` draws from other keys.
        """
        score = self._score
        config = self.config if score is None else dataclasses.replace(self.config, score=score)
        return initial_values(key, self.parameter_shapes, config, scale)

    @functools.cached_property
    def parameter_shapes(self) -> Params:
        """The shapes and types of the parameters, as a nested dict; nothing is computed or compiled."""

        def init() -> Params:
            tokens = jnp.zeros((1, 1), jnp.int32)
            return self.module.init(jax.random.key(0), {"source": tokens, "target": tokens})["params"]

        return jax.eval_shape(init)

    def apply(
        self,
        params: Params,
        batch: Batch,
        *,
        key: Array | None = None,
        dropout: float | Array | None = None,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> dict[str, Any]:
        """The model on a batch (its entries: see the README).

        Args:
            key: a typed key, for training with dropout. Without one nothing is dropped.
            dropout: the rate, a number or a traced array; None takes the config's.
            capture: names of activations (see `transformer.nn.intermediates`).
            replace: name -> function of the activation, of the same shape.

        Returns:
            logits, float32 (B T V for a decoder, B S V for an encoder-only model), or class_logits (B C) of a
            classifier; hidden, what the head reads; and captured, name -> array with a leading L, if asked for.

        Raises:
            UserError: a batch without what this architecture needs, shapes that do not fit, an unknown activation.
        """
        if dropout is not None and key is None:
            raise problem("dropout needs a random key", got="no key", do="Pass key=jax.random.key(...).")
        rate = None if key is None else self.config.dropout if dropout is None else dropout
        noise = Noise() if rate is None else Noise(rate, key)
        out = self._asking(capture, replace).apply({"params": params}, entries(batch), noise)
        captured = {"captured": out["seen"]} if capture else {}
        said = {name: out[name] for name in ("logits", "class_logits") if name in out}
        return {**said, "hidden": out["hidden"], **captured}

    def start(
        self,
        params: Params,
        batch: Batch,
        *,
        steps: int,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> Any:
        """The cache with which decoding begins: the source and the prompt are read.

        Args:
            batch: `source` and its lengths for an encoder; `target` and `target_lengths`, the prompt, for a decoder;
                `prefix_lengths`, where the slots to fill begin, for an encoder-only model.
            steps: how many tokens will be decoded at most.

        Returns:
            The cache; with `capture`, a pair of it and of what was captured.
        """
        module = self._asking(capture, replace)
        cache = module.apply({"params": params}, entries(batch), steps, method="start")
        return _split(cache, capture)

    def step(
        self,
        params: Params,
        tokens_B: Array,
        cache: Any,
        *,
        capture: Sequence[str] = (),
        replace: Replace | None = None,
    ) -> tuple[Any, ...]:
        """(logits B V of the next token, cache) after reading one token of each example; and captured, if asked for.

        The first step reads the prompt's last token; an encoder-only model ignores the tokens.
        """
        module = self._asking(capture, replace)
        logits_BV, cache = module.apply({"params": params}, tokens_B, {**cache, "seen": {}}, method="step")
        after = _split(cache, capture)
        return (logits_BV, *after) if capture else (logits_BV, after)

    def parameter_axes(self, params: Params) -> Any:
        """Return a tree like `params` with each array's axes and kind."""
        return parameter_axes(params, self._score)

    @property
    def _score(self) -> str | None:
        """The score of the attention; None without attention."""
        return TRAITS[self.config.architecture].score(self.config)

    @property
    def stacks(self) -> dict[str, Parts]:
        """Stack -> "residual" and its sublayers -> how many of its layers, from the first on, have them."""
        return stacks(self.config)

    def _asking(self, capture: Sequence[str], replace: Replace | None) -> nn.Module:
        asked = request(capture, replace)
        if asked == Request():
            return self.module
        check(asked, self.stacks, self.config.num_heads, self.config.num_kv_heads)
        return self.module.clone(asked=asked)


def _split(cache: dict[str, Any], capture: Sequence[str]) -> Any:
    rest = {name: value for name, value in cache.items() if name != "seen"}
    return (rest, cache["seen"]) if capture else rest


def build(config: ModelConfig | Mapping[str, Any]) -> Model:
    """The model that a config, or a dict of its fields, describes.

    Raises:
        UserError: an unknown, mistyped, contradictory, missing or unread setting.
    """
    config = model_config(changed(config) if isinstance(config, ModelConfig) else config)
    score = TRAITS[config.architecture].score(config)
    if score is not None:
        find(score)
    if config.vocab_size is None:
        raise problem("model.vocab_size is not set", expected="the number of tokens", do="Set model.vocab_size.")
    if POSITIONS[config.position].adds == "table" and config.max_length is None:
        raise problem("learned positions need model.max_length", expected="the longest sequence, in tokens")
    return Model(config, ARCHITECTURES[config.architecture](config))
