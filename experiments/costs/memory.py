"""Memory that a program needs and a device has, in bytes.

    peak = arguments + outputs - outputs that reuse a donated argument's memory + temporary

Temporary are activations kept for the backward pass, gradients, and buffers of the matrix products.
"""

import dataclasses
import math
from typing import Any

import jax

from experiments.data.machine import free_memory


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory of a compiled program (bytes); for a program of R lanes, of all lanes at once.

    Attributes:
        arguments: of the state, the batch and other inputs.
        outputs: of the results.
        aliased: the part of `outputs` that reuses the memory of donated arguments.
        temporary: of values that are neither.
    """

    arguments: int
    outputs: int
    aliased: int
    temporary: int

    @property
    def peak(self) -> int:
        """The largest amount in use at one time."""
        return self.arguments + self.outputs - self.aliased + self.temporary


def memory_of(compiled: jax.stages.Compiled) -> Memory | None:
    """Read XLA's memory plan of a compiled program on one device; None where the platform gives none."""
    stats = compiled.memory_analysis()
    if stats is None:
        return None
    return Memory(
        arguments=stats.argument_size_in_bytes,
        outputs=stats.output_size_in_bytes,
        aliased=stats.alias_size_in_bytes,
        temporary=stats.temp_size_in_bytes,
    )


def bytes_of(tree: Any) -> int:
    """Sum the bytes of all arrays, or shapes of arrays, of a tree; a random key counts as its numbers."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def bytes_per_device(tree: Any) -> int:
    """Sum the bytes that one device has of all arrays, or shapes of arrays, of a tree; without a sharding, all."""

    def of(x: Any) -> int:
        sharding = getattr(x, "sharding", None)
        shape = x.shape if sharding is None else sharding.shard_shape(x.shape)
        return math.prod(shape) * x.dtype.itemsize

    return sum(map(of, jax.tree.leaves(tree)))


def available(device: jax.Device) -> int | None:
    """Read how many bytes a program may use on this device: its allocator's limit, or what the machine leaves.

    None where the platform gives neither.
    """
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return None if device.platform != "cpu" else free_memory()
