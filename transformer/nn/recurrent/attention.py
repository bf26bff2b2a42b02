"""The attention of a recurrent decoder: its projections stand outside of the loop over time, their parameters within.

Keys and values are made once, for all states of the source; each step projects its own state and its own heads.
"""

from typing import NamedTuple

import flax.linen as nn
from jax import Array

from transformer.nn.attention import Cache, Scoring
from transformer.nn.modules import Linear, RowParameters, linear_parameters
from transformer.nn.recurrent.cells import Parameters
from transformer.nn.settings import ModelSettings
from transformer.ops.scores import Score


class AttentionParameters(NamedTuple):
    """The parameters of the decoder's attention that each step reads.

    Attributes:
        query: those of the linear map of the state.
        output: those of the linear map of the heads.
        scoring: the computation of the weights.
    """

    query: Parameters
    output: Parameters
    scoring: Scoring


class RecurrentAttention(nn.Module):
    """The attention of the decoder: its parameters, and the keys and values, which are made once.

    Attributes:
        config: model settings.
        function: the score function.
    """

    config: ModelSettings
    function: Score

    def setup(self) -> None:
        self.query, self.output = (_LinearParameters(self.config, owner) for owner in ("query", "output"))
        self.key, self.value = (Linear(self.config, owner) for owner in ("key", "value"))
        self.score = RowParameters(self.config, "score", self.function.parameters)

    def __call__(self) -> AttentionParameters:
        scoring = Scoring(self.function, self.score(), kernels=self.config.kernels)
        return AttentionParameters(self.query(), self.output(), scoring)

    def read(self, source_BSD: Array) -> Cache:
        return {"key": self.key(source_BSD), "value": self.value(source_BSD)}


class _LinearParameters(nn.Module):
    """The parameters of a `Linear`, for use within a loop."""

    config: ModelSettings
    owner: str

    @nn.compact
    def __call__(self) -> Parameters:
        return linear_parameters(self, self.owner, self.config)
