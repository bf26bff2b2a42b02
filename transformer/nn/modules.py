"""Modules of one operation with its parameters: linear maps, tables, vectors, norms, the parameters of rows."""

from typing import Any

import flax.linen as nn
from jax import Array

from transformer.errors import problem
from transformer.nn.parameters import Brought, brought, declare, find_axes, norm_of
from transformer.nn.settings import ModelSettings
from transformer.ops import norms
from transformer.ops.linear import Kernel, linear


class Linear(nn.Module):
    """The linear map `owner` of the table, with a bias if the config says so."""

    config: ModelSettings
    owner: str

    @nn.compact
    def __call__(self, x: Array) -> Array:
        parameters = linear_parameters(self, self.owner, self.config)
        return linear(x, **parameters, inputs=len(find_axes(self.owner, "kernel").inputs))


def linear_parameters(module: nn.Module, owner: str, config: ModelSettings) -> dict[str, Any]:
    """Make the kernel of a linear map in a module, and the bias if the config says so."""
    bias = {"bias": declare(module, owner, "bias", config)} if config.bias else {}
    return {"kernel": kernel(module, owner, config), **bias}


def kernel(module: nn.Module, owner: str, config: ModelSettings) -> Array | Kernel:
    """Make the kernel of a linear map in a module; one that is stored as a `Kernel` is returned as it is."""
    stored = module.get_variable("params", "kernel") if module.has_variable("params", "kernel") else None
    return stored if isinstance(stored, Kernel) else declare(module, owner, "kernel", config)


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


class RowParameters(nn.Module):
    """The parameters that a row of a table brings along for an owner, by name."""

    config: ModelSettings
    owner: str
    rows: Brought

    @nn.compact
    def __call__(self) -> dict[str, Array]:
        return {name: declare(self, self.owner, name, self.config, rows=self.rows) for name in self.rows}


class Norm(nn.Module):
    """The norm that the config names, over the last axis. The module's name is its owner in AXES."""

    config: ModelSettings

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.name is None:
            raise problem("a norm has no name", expected="its owner in transformer.nn.parameter_axes.AXES")
        owner = self.name
        row = norm_of(owner, self.config)
        rows = brought(owner, self.config)
        kept = norms.kept({name: rows[name] for name in row.parameters}, bias=self.config.bias)
        parameters = {name: declare(self, owner, name, self.config, rows=kept) for name in kept}
        return row.by(self.config.kernels)(x, **parameters, epsilon=self.config.norm_epsilon, **row.own)
