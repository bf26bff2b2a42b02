"""Mesh of devices of a config: its sizes held against the devices that there are."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from experiments.parallel.config import AXES, MeshConfig
from transformer.errors import counted, problem


def mesh_of(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh | None:
    """Build the mesh of a config; None where it is a single device.

    Args:
        devices: None: all.

    Raises:
        UserError: the product of its sizes is not the number of devices, or more than one size is -1.
    """
    sizes, names = config.sizes, [name for name, size in config.sizes.items() if size == -1]
    if all(size == 1 for size in sizes.values()):
        return None
    devices = jax.devices() if devices is None else devices
    given = math.prod(size for size in sizes.values() if size != -1)
    if len(names) > 1:
        do = "Give all but one of them a number."
        raise problem("more than one axis of the mesh is -1", got=" and ".join(names), expected="one at most", do=do)
    if names and len(devices) % given == 0:
        sizes[names[0]] = len(devices) // given
    if math.prod(sizes.values()) != len(devices):
        product = " x ".join(f"{name} {sizes[name]}" for name in AXES if sizes[name] != 1)
        raise problem(
            "the mesh has another number of devices than this run",
            got=f"{product}, and {counted(len(devices), 'device')}",
            expected="sizes whose product is the number of devices",
            do="Change --config.mesh.data, fsdp, tensor or sequence; one of them may be -1, for all that are left.",
        )
    if math.prod(sizes.values()) == 1:
        return None
    shape = [sizes[name] for name in AXES]
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)
