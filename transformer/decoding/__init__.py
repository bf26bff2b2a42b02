"""Generation of text: one loop over `start` and `step` of any model."""

from transformer.decoding.generate import generate
from transformer.decoding.strategies import STRATEGIES, DecodingConfig, Greedy, Sampling

__all__ = ["STRATEGIES", "DecodingConfig", "Greedy", "Sampling", "generate"]
