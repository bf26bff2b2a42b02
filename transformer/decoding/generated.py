"""The result of generation."""

from typing import Any, NamedTuple

from jax import export

NOTHING: dict[str, Any] = {}
"""Captured activations where none were asked for."""


class Generated(NamedTuple):
    """The tokens that a model wrote, the best answer of an example first; a tree of arrays.

    Attributes:
        tokens: new tokens, B T, or B n T of a beam with `num_return`; padding after the end token.
        lengths: number of tokens with the end token, B, or B n; 0 where nothing could be written.
        scores: log-probability of these tokens by the model (nats), B, or B n, whatever strategy and rules chose them;
            NaN where the logits are (see `model.start`), -inf for a hypothesis that does not exist.
        captured: name -> activations, as `generate` was asked for; {} where it was not.
    """

    tokens: Any
    lengths: Any
    scores: Any
    captured: Any = NOTHING


export.register_namedtuple_serialization(Generated, serialized_name="transformer.decoding.Generated")
