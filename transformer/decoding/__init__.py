"""Generation of text: one engine over `start` and `step` of any model."""

from transformer.decoding.config import STRATEGIES, DecodingConfig, StrategyRow
from transformer.decoding.constraint import Constraint, any_of, matching, only
from transformer.decoding.fixed_rules import Banned, Forced, MinLength
from transformer.decoding.generate import generate
from transformer.decoding.generated import Generated
from transformer.decoding.rules import Allowed, NoRepeatNgram, RepetitionPenalty
from transformer.decoding.strategies import Beam, Greedy, Sampling
from transformer.decoding.stream import stream

__all__ = [
    "STRATEGIES",
    "Allowed",
    "Banned",
    "Beam",
    "Constraint",
    "DecodingConfig",
    "Forced",
    "Generated",
    "Greedy",
    "MinLength",
    "NoRepeatNgram",
    "RepetitionPenalty",
    "Sampling",
    "StrategyRow",
    "any_of",
    "generate",
    "matching",
    "only",
    "stream",
]
