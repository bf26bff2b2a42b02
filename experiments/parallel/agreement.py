"""Agreement of the processes of a run about what is asked of one of them, without a pause of the training."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Agreement:
    """The largest of numbers that each process gives at every step, as all processes have it one step later.

    The number of a step is read when the next one begins, so that the devices always have work.

    Args:
        mesh: of the run; its axes are those of all processes.
        count: number of numbers.
    """

    def __init__(self, mesh: Mesh, count: int) -> None:
        self._sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
        self._size, self._count = mesh.size, count
        self._largest = jax.jit(lambda x: x.max(axis=0), out_shardings=NamedSharding(mesh, PartitionSpec()))
        self._before: jax.Array | None = None

    def of(self, *numbers: int) -> list[int]:
        """Give the numbers of this step; return the largest ones of the step before, 0 at the first."""
        row = np.array([numbers], np.int32)
        shape = (self._size, self._count)
        given = jax.make_array_from_callback(shape, self._sharding, lambda _: row)
        before, self._before = self._before, self._largest(given)
        return [0] * self._count if before is None else np.asarray(before).tolist()
