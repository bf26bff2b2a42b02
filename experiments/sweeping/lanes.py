"""Many trials in one program: lanes of a state with a leading axis R.

    vmap   all lanes of a device at once: one operation computes all of them
    map    a device's lanes one after another inside the program: each is computed as it would be alone, bit for bit

Lanes are divided among the devices (`shard_map`), which compute side by side; a CPU's cores can be devices. A lane
whose loss or gradient is not finite keeps the state that it had, and no lane reads another. `Programs` compiles one
program for each group of trials, number of lanes and shape of batch.
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

MOST_TRIALS = 1_000_000
"""Largest number of trials, and of lanes; the memory allows fewer."""

MOST_LANES = 32
"""Trials at once, where memory holds them and no flag gives a number."""

MOST_DEVICES = 1024
"""Largest number of parts of a CPU that compute side by side."""

Update = Callable[[Any, Any, Any], tuple[Any, dict[str, Array]]]
"""(state, batch, hyperparameters) -> (state, metrics), of one trial."""


def by_vmap(update: Update, states: Any, running: Bool[Array, "R"], batch: Any, shared: bool, h: Any) -> Any:
    """Update a device's lanes at once; those that are not running are computed and discarded.

    Returns:
        The states, whether each lane is running, and the metrics.
    """
    return jax.vmap(_guarded(update), in_axes=(0, 0, None if shared else 0, 0))(states, running, batch, h)


def by_map(update: Update, states: Any, running: Bool[Array, "R"], batch: Any, shared: bool, h: Any) -> Any:
    """Update a device's lanes one after another, in place; those that are not running are skipped.

    The end of the loop is known only when the program runs: for one lane, XLA would otherwise make no loop but merge
    the update with what is around it, and round differently.

    Returns:
        The states, whether each lane is running, and the metrics.
    """

    def lane(i: Array, carried: Any) -> Any:
        states, running, metrics = carried
        state, on, hyper = _at((states, running, h), i)
        own = batch if shared else _at(batch, i)
        state, on, row = jax.lax.cond(on, _guarded(update), _skipped(metrics), state, on, own, hyper)
        return _put(states, state, i), running.at[i].set(on), _put(metrics, row, i)

    first = jax.eval_shape(update, _at(states, 0), batch if shared else _at(batch, 0), _at(h, 0))[1]
    metrics = jax.tree.map(lambda x: jnp.zeros((len(running), *x.shape), x.dtype), first)
    end = len(running) - jnp.argmax(running[::-1])
    return jax.lax.fori_loop(0, end, lane, (states, running, metrics))


MODES: dict[str, Callable[..., Any]] = {"map": by_map, "vmap": by_vmap}

FASTEST = {"cpu": "map", "gpu": "vmap", "tpu": "vmap"}
"""Platform -> the mode that `auto` stands for."""


def mode_of(name: str) -> str:
    """Return the row of MODES for a setting; `auto` stands for the fastest on this platform."""
    return FASTEST.get(jax.default_backend(), "map") if name == "auto" else name


def use_cores(devices: int | None) -> None:
    """Divide a CPU into this many devices, one for each core if None; only before JAX is first used."""
    try:
        jax.config.update("jax_num_cpu_devices", devices or len(os.sched_getaffinity(0)))
    except RuntimeError:
        if devices is not None:
            raise


def lanes_mesh() -> Mesh:
    """Build the mesh of all devices of this process, among which lanes are divided."""
    return Mesh(np.array(jax.local_devices()), (AXIS,))


def make_lanes(update: Update, mode: str, mesh: Mesh, *, shared: bool) -> Callable[..., Any]:
    """Build the jitted update of lanes: (states, running, batch, hyperparameters) -> (states, running, metrics).

    Every argument but a shared batch has a leading R, a multiple of the number of devices. The states are donated.
    The metrics of lanes that are not running are zeros by map, and of no trial by vmap.

    Args:
        mode: a row of MODES.
        shared: all lanes learn from one batch; otherwise it has a leading R too.
    """
    lane, every = PartitionSpec(AXIS), PartitionSpec()

    def lanes(states: Any, running: Array, batch: Any, h: Any) -> Any:
        return MODES[mode](update, states, running, batch, shared, h)

    sharded = jax.shard_map(
        lanes,
        mesh=mesh,
        in_specs=(lane, lane, every if shared else lane, lane),
        out_specs=lane,
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=0)


def place(lanes: Any, mesh: Mesh) -> Any:
    """Divide a tree of arrays with a leading R among the devices."""
    return jax.device_put(lanes, NamedSharding(mesh, PartitionSpec(AXIS)))


def started(initial_state: Callable[[Any], Any], hyperparameters: Sequence[Any], size: int, mesh: Mesh) -> Any:
    """Place the first states of lanes on the devices; lanes beyond the given trials are not running.

    Args:
        initial_state: hyperparameters of one trial -> its first state.
        size: number of lanes.

    Returns:
        The states, whether each lane is running, and the hyperparameters.
    """
    filled = [*hyperparameters, *[hyperparameters[0]] * (size - len(hyperparameters))]
    running = np.arange(size) < len(hyperparameters)
    return place((stacked([initial_state(h) for h in filled]), running, stacked(filled)), mesh)


def lane_counts(trials: int, most: int, devices: int) -> list[int]:
    """Choose the number of lanes of each of a row of programs that run all trials, with as few sizes as possible.

    Args:
        trials: to be run.
        most: lanes at once.
        devices: a program's lanes are a multiple of them; the rest is filled with lanes that are not running.

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
    """Round a number of trials up to a number of lanes that is the same on each device."""
    return math.ceil(count / devices) * devices


def lane_structs(tree: Any, count: int, mesh: Mesh) -> Any:
    """Return the shapes of `count` lanes of a tree, divided among the devices."""
    sharding = NamedSharding(mesh, PartitionSpec(AXIS))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype, sharding=sharding), tree)


def stacked(trees: Sequence[Any]) -> Any:
    """Stack trees of one shape into one with a leading R, in the memory of the host."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def row(lanes: Any, i: int) -> Any:
    """Return one lane of a tree with a leading R."""
    return jax.tree.map(lambda x: x[i], lanes)


def mean_loss(loss_R: Any, running_R: Any) -> float | None:
    """Average the loss of a step over the lanes that it has updated; None where it has updated none.

    The metrics of other lanes are of no trial, or not finite.
    """
    updated = np.asarray(loss_R)[np.asarray(running_R)]
    return float(updated.mean()) if updated.size else None


def _guarded(update: Update) -> Callable[..., Any]:
    """Build the update of one lane, which keeps its state once its loss or gradient is not finite."""

    def guarded(state: Any, running: Array, batch: Any, h: Any) -> Any:
        new, metrics = update(state, batch, h)
        on = running & jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        return jax.tree.map(lambda a, b: jnp.where(on, a, b), new, state), on, metrics

    return guarded


def _skipped(metrics: Any) -> Callable[..., Any]:
    def skipped(state: Any, running: Array, batch: Any, h: Any) -> Any:
        return state, running, jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), metrics)

    return skipped


def _at(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), tree)


def _put(tree: Any, rows: Any, i: Array) -> Any:
    return jax.tree.map(lambda x, r: jax.lax.dynamic_update_index_in_dim(x, r, i, 0), tree, rows)


class Programs:
    """The compiled updates of one group of trials: one for each number of lanes and shape of batch.

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

    def __call__(self, states: Any, running: Any, batch: Any, hyperparameters: Any) -> Any:
        """Update all lanes once, see `make_lanes`; compile where these shapes are new."""
        return self.program(states, running, batch, hyperparameters)(states, running, batch, hyperparameters)

    def program(self, *arguments: Any) -> Any:
        """Return the compiled program for arguments of these shapes."""
        key = len(arguments[1]), *(tuple(x.shape) for x in jax.tree.leaves(arguments[2]))
        if key not in self.compiled:
            self.compiled[key] = self._lanes.lower(*arguments).compile()
            if self._count is not None:
                self._count(*key)
        return self.compiled[key]

    def memory(self, *arguments: Any) -> Memory | None:
        """Return the memory that the program for these arguments needs on each device; compile it if it is new."""
        return memory_of(self.program(*arguments))

    def free(self) -> int | None:
        """Return the bytes that are free for each device: an accelerator's own, a CPU's share of the machine's."""
        device = self.mesh.devices.flat[0]
        free = available(device)
        return free and free // (self.mesh.size if device.platform == "cpu" else 1)
