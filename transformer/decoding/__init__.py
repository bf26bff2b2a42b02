"""Decoding: one engine over the step protocol, for every architecture."""

from transformer.decoding.generate import DecodingConfig, Greedy, generate

__all__ = ["DecodingConfig", "Greedy", "generate"]
