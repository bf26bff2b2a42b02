"""Settings of the mesh of devices."""

import dataclasses
import math

from transformer.errors import problem
from transformer.schema import Check, in_words, setting

AXES = ("data", "fsdp", "tensor", "sequence")
"""Axes of the mesh, in the order of the devices: the last varies fastest."""


MOST_DEVICES = 1_000_000
"""Largest size of an axis."""


def _size(meaning: str) -> int:
    words = f"-1, or a number from 1 to {in_words(MOST_DEVICES)}"
    check = Check(lambda size: size != 0, words, (-1, MOST_DEVICES))
    return setting(1, meaning, check=check, changes_result=False)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the axes of a mesh of devices; their product is the number of devices, or 1 for a single one."""

    data: int = _size("devices along data: each has its own examples and all parameters; -1: all that are left")
    fsdp: int = _size("devices along fsdp: each has its own examples and a part of all parameters")
    tensor: int = _size("devices along tensor: each has a part of the heads, of the feed-forward and of the vocabulary")
    sequence: int = _size("devices along sequence: each has a part of the positions")
    rules: tuple[str, ...] = setting(
        (),
        "rules in place of the table's, PATTERN=LETTER:AXIS; *table=V:none keeps the vocabulary whole",
        changes_result=False,
    )

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the axes, by name; -1 where all devices that are left are meant."""
        return {axis: getattr(self, axis) for axis in AXES}


def mesh_devices(config: MeshConfig) -> int:
    """Return the number of devices of a mesh.

    Raises:
        UserError: the size of an axis is -1, which the devices of a run decide.
    """
    for name, size in config.sizes.items():
        if size == -1:
            do = f"Give it, such as --config.mesh.{name}=8."
            raise problem("a plan needs the number of devices", got=f"mesh.{name} -1", expected="a number", do=do)
    return math.prod(config.sizes.values())
