"""Many trials in one program: lanes of a state with a leading axis R.

    vmap   all lanes of a device at once: one operation works on all of them
    map    a device's lanes one after another inside the program: each is computed as it would be alone, bit for bit

Lanes are divided among the devices (`shard_map`), which compute side by side; a CPU's cores can be devices. A lane
whose loss or gradient is not finite keeps the state that it had, and no lane sees another.
"""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool

from experiments.costs.memory import Memory, available, memory_of
from transformer.errors import problem

AXIS = "lanes"

Update = Callable[[Any, Any, Any], tuple[Any, dict[str, Array]]]
"""(state, batch, hyperparameters) -> (state, metrics), of one trial."""


def by_vmap(update: Update, states: Any, alive: Bool[Array, "R"], batch: Any, shared: bool, h: Any) -> Any:
    """(states, alive, metrics) of a device's lanes; those that are not alive are computed and thrown away."""
    return jax.vmap(_guarded(update), in_axes=(0, 0, None if shared else 0, 0))(states, alive, batch, h)


def by_map(update: Update, states: Any, alive: Bool[Array, "R"], batch: Any, shared: bool, h: Any) -> Any:
    """The same, one lane after another, in place; those that are not alive are skipped.

    Where the loop ends is known only when the program runs: of one lane, XLA would otherwise make no loop but merge
    the update with what is around it, and round differently.
    """

    def lane(i: Array, carried: Any) -> Any:
        states, alive, metrics = carried
        state, on, hyper = _at((states, alive, h), i)
        own = batch if shared else _at(batch, i)
        state, on, row = jax.lax.cond(on, _guarded(update), _skipped(metrics), state, on, own, hyper)
        return _put(states, state, i), alive.at[i].set(on), _put(metrics, row, i)

    first = jax.eval_shape(update, _at(states, 0), batch if shared else _at(batch, 0), _at(h, 0))[1]
    metrics = jax.tree.map(lambda x: jnp.zeros((len(alive), *x.shape), x.dtype), first)
    end = len(alive) - jnp.argmax(alive[::-1])
    return jax.lax.fori_loop(0, end, lane, (states, alive, metrics))


MODES: dict[str, Callable[..., Any]] = {"map": by_map, "vmap": by_vmap}

FASTEST = {"cpu": "map", "gpu": "vmap", "tpu": "vmap"}
"""Platform -> the mode that `auto` takes there."""


def mode_of(name: str) -> str:
    """The row of MODES for a setting, where `auto` is what is fastest on this platform."""
    return FASTEST.get(jax.default_backend(), "map") if name == "auto" else name


def use_cores(devices: int | None) -> None:
    """Makes so many devices of a CPU, one for each core unless given, if JAX has not been used before."""
    try:
        jax.config.update("jax_num_cpu_devices", devices or len(os.sched_getaffinity(0)))
    except RuntimeError:
        if devices is not None:
            raise


def lanes_mesh() -> Mesh:
    """The devices that lanes are divided among: all of this process."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def make_lanes(update: Update, mode: str, mesh: Mesh, *, shared: bool) -> Callable[..., Any]:
    """The compiled update of lanes: (states, alive, batch, hyperparameters) -> (states, alive, metrics).

    Every argument but a shared batch has a leading R, a multiple of the number of devices. It donates the states.
    Metrics of lanes that were not alive are zeros by map, and of no trial by vmap.

    Args:
        mode: a row of MODES.
        shared: all lanes learn from one batch; otherwise it has a leading R too.
    """
    lane, every = PartitionSpec(AXIS), PartitionSpec()

    def lanes(states: Any, alive: Array, batch: Any, h: Any) -> Any:
        return MODES[mode](update, states, alive, batch, shared, h)

    sharded = jax.shard_map(
        lanes,
        mesh=mesh,
        in_specs=(lane, lane, every if shared else lane, lane),
        out_specs=lane,
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=0)


def place(lanes: Any, mesh: Mesh) -> Any:
    """A tree of arrays with a leading R, divided among the devices."""
    return jax.device_put(lanes, NamedSharding(mesh, PartitionSpec(AXIS)))


def started(initial_state: Callable[[Any], Any], hyperparameters: Sequence[Any], size: int, mesh: Mesh) -> Any:
    """(states, alive, hyperparameters) on the devices of `size` lanes, those beyond the given ones not alive.

    Args:
        initial_state: hyperparameters of one trial -> its first state.
    """
    filled = [*hyperparameters, *[hyperparameters[0]] * (size - len(hyperparameters))]
    alive = np.arange(size) < len(hyperparameters)
    return place((stacked([initial_state(h) for h in filled]), alive, stacked(filled)), mesh)


def lane_counts(trials: int, most: int, devices: int) -> list[int]:
    """How many lanes each of a row of programs has, so that all trials run and as few sizes as can be compile.

    Args:
        trials: to be run.
        most: lanes at once.
        devices: a program's lanes are a multiple of them; what is left over is filled with lanes that are not alive.

    Raises:
        UserError: not one lane for each device.
    """
    most = most // devices * devices
    if most < devices:
        raise problem("a program has fewer lanes than there are devices", got=most, expected=f"{devices} or more")
    programs = math.ceil(trials / most)
    size = padded(math.ceil(trials / programs), devices)
    return [size] * math.ceil(trials / size)


def padded(count: int, devices: int) -> int:
    """How many lanes the program has that holds so many trials: as many for each device."""
    return math.ceil(count / devices) * devices


def lane_structs(tree: Any, count: int, mesh: Mesh) -> Any:
    """The shapes of `count` lanes of a tree, divided among the devices."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype, sharding=sharding), tree)


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one shape -> one with a leading R, in the memory of the host."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def row(lanes: Any, i: int) -> Any:
    """One lane of a tree with a leading R."""
    return jax.tree.map(lambda x: x[i], lanes)


def _guarded(update: Update) -> Callable[..., Any]:
    """The update of one lane, which keeps its state once its loss or gradient is not finite."""

    def guarded(state: Any, alive: Array, batch: Any, h: Any) -> Any:
        new, metrics = update(state, batch, h)
        on = alive & jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return jax.tree.map(lambda a, b: jnp.where(on, a, b), new, state), on, metrics

    return guarded


def _skipped(metrics: Any) -> Callable[..., Any]:
    def skipped(state: Any, alive: Array, batch: Any, h: Any) -> Any:
        return state, alive, jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), metrics)

    return skipped


def _at(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree)


def _put(tree: Any, rows: Any, i: Array) -> Any:
    return jax.tree.map(lambda x, r: jax.lax.dynamic_update_index_in_dim(x, r, i, 0), tree, rows)


class Programs:
    """The updates of one group of trials.

    Args:
        update: of one trial.
        mode: a row of MODES.
        mesh: the devices.
        shared: whether all lanes learn from one batch.
        count: called with (lanes, shapes) when a program compiles.
    """

    def __init__(
        self,
        update: Callable[..., Any],
        mode: str,
        mesh: Mesh,
        *,
        shared: bool,
        count: Callable[..., None] | None = None,
    ):
        self.mesh, self._count = mesh, count
        self._lanes = make_lanes(update, mode, mesh, shared=shared)
        self.compiled: dict[tuple[Any, ...], Any] = {}

    def __call__(self, states: Any, alive: Any, batch: Any, hyperparameters: Any) -> Any:
        """One update of all lanes, see `make_lanes`; compiles where these shapes are new."""
        return self.program(states, alive, batch, hyperparameters)(states, alive, batch, hyperparameters)

    def program(self, *arguments: Any) -> Any:
        """The compiled program for arguments of these shapes."""
        key = len(arguments[1]), *(tuple(x.shape) for x in jax.tree.leaves(arguments[2]))
        if key not in self.compiled:
            self.compiled[key] = self._lanes.lower(*arguments).compile()
            if self._count is not None:
                self._count(*key)
        return self.compiled[key]

    def memory(self, *arguments: Any) -> Memory | None:
        """What the program for these arguments needs on each device; compiles it."""
        return memory_of(self.program(*arguments))

    def free(self) -> int | None:
        """Bytes that are free for each device: on an accelerator its own, on a CPU its share of the machine's."""
        device = self.mesh.devices.flat[0]
        free = available(device)
        return free and free // (self.mesh.size if device.platform == "cpu" else 1)
