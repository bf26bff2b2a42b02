"""Modules of one operation with its parameters: linear maps, tables, vectors, norms, a score's parameters."""

import flax.linen as nn
from jax import Array

from transformer.errors import problem
from transformer.nn.parameters import declare, find_axes
from transformer.nn.settings import ModelSettings
from transformer.ops.linear import linear
from transformer.ops.norms import NORMS
from transformer.ops.scores import Score


class Linear(nn.Module):
    """The linear map `owner` of the table, with a bias if the config says so."""

    config: ModelSettings
    owner: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        parameters = linear_parameters(self, self.owner, self.config)
        return linear(x, **parameters, inputs=len(find_axes(self.owner, "kernel").inputs))


def linear_parameters(module: nn.Module, owner: str, config: ModelSettings) -> dict[str, Array]:
    """Make the kernel of a linear map in a module, and the bias if the config says so."""
    names = ("kernel", "bias") if config.bias else ("kernel",)
    return {name: declare(module, owner, name, config) for name in names}


class Table(nn.Module):
    """The table `owner`: rows that are looked up."""

    config: ModelSettings
    owner: str

    @nn.compact
    def __call__(self) -> Array:
        return declare(self, self.owner, "table", self.config)


class Vectors(nn.Module):
    """The vectors `names` of an owner in the table."""

    config: ModelSettings
    owner: str
    names: tuple[str, ...]

    @nn.compact
    def __call__(self) -> tuple[Array, ...]:
        return tuple(declare(self, self.owner, name, self.config) for name in self.names)


class ScoreParameters(nn.Module):
    """The parameters of a learned score, each with a leading N."""

    config: ModelSettings
    score: Score

    @nn.compact
    def __call__(self) -> dict[str, Array]:
        return {name: declare(self, "score", name, self.config, score=self.score) for name in self.score.parameters}


class Norm(nn.Module):
    """The norm that the config names, or another row of NORMS; over the last axis. Its name is its owner in AXES."""

    config: ModelSettings
    row: str | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.name is None:
            raise problem("a norm has no name", expected="its owner in transformer.nn.parameters.AXES")
        owner = self.name
        function, names = NORMS[self.row or self.config.norm]
        kept = [name for name in names if name == "scale" or self.config.bias]
        parameters = {name: declare(self, owner, name, self.config) for name in kept}
        return function(x, **parameters, epsilon=self.config.norm_epsilon)
