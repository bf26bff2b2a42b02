"""Training of a model with each seed and each learning rate, as lanes of one program.

The data are drawn inside the program: batch i of a lane is sample(key of (seed, i), data), so lanes of one seed train
on the same batches whatever their learning rate, and so does another model.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Bool, Float

from experiments.sweeping.lanes import AXIS, lanes_mesh, make_lanes, mode_of, padded, started
from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OptimizerConfig
from experiments.training.update import Batch, initial_state, make_update
from transformer import Model

Sample = Callable[[Array, Any], Batch]
"""A function (key, data) -> batch, with labels and loss_weights; traced."""

OPTIMIZER = OptimizerConfig(warmup_steps=20, weight_decay=0.0)
DATA = 1
"""Number folded into a key: the stream of training batches, beside those of parameters and dropout."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """R lanes after training."""

    loss_RU: Float[np.ndarray, "R U"]
    """Loss at each update U, nats per token of its batch; NaN once a lane has diverged."""
    params: Any
    """Parameters with a leading axis of all lanes of the program, of which the first R were trained."""
    seconds: float
    """Time of the updates, without compilation."""
    curve: tuple[Any, ...]
    """Readings at each update of the `monitor`."""


Readings = Callable[[Any, Any], Any]
"""(parameters of all lanes, batches) -> arrays with a leading axis of the lanes."""


class Monitor(NamedTuple):
    """Readings of the parameters during training."""

    readings: Readings
    batches: Any
    updates: Sequence[int]
    """Numbers of updates after which it is computed."""


class Trainer:
    """Training of lanes of different learning rates and seeds, by one program of a fixed number of lanes."""

    def __init__(self, model: Model, sample: Sample, data: Any, optimizer: OptimizerConfig, *, lanes: int) -> None:
        """Make a trainer; its program is compiled when it is first called.

        Args:
            model: a model from `transformer.build`.
            sample: draws a batch.
            data: the second argument of `sample`; the same for all lanes.
            optimizer: optimizer, whose learning rate and warm-up each lane sets.
            lanes: lanes of the program; those that are not asked for are not computed.
        """
        self.optimizer = optimizer
        self.mesh = lanes_mesh()
        self.size = padded(lanes, self.mesh.size)
        self.data = jax.device_put(data, NamedSharding(self.mesh, PartitionSpec()))
        self.initialise = jax.jit(lambda h: initial_state(model, optimizer, h, None))

        def step(state: Any, data: Any, h: Hyperparameters) -> tuple[Any, dict[str, Array]]:
            data, steps = data
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(h.seed), DATA), state.step)
            return make_update(model, optimizer, steps=steps)(state, sample(key, data), h)

        self.program = make_lanes(step, mode_of("auto"), self.mesh, shared=True)
        self.compiled: Any = None

    def __call__(
        self,
        pairs: Sequence[tuple[float, int]],
        *,
        steps: int,
        warmup: int,
        smoothing: float | None = None,
        monitor: Monitor | None = None,
    ) -> Trained:
        """Train lanes; the number of updates is an argument of the program, so one is compiled.

        Args:
            pairs: (peak learning rate, seed) of each, no more than the program's lanes.
            steps: number of updates.
            warmup: warm-up of the learning rate (updates).
            smoothing: label smoothing; the recorded losses are without it.
            monitor: what is computed on the way.
        """
        optimizer = dataclasses.replace(self.optimizer, warmup_steps=warmup)
        hyperparameters = [_hyperparameters(rate, seed, optimizer, smoothing) for rate, seed in pairs]
        states, alive, h = started(self.initialise, hyperparameters, self.size, self.mesh)
        data = (self.data, jax.device_put(jnp.float32(steps), NamedSharding(self.mesh, PartitionSpec())))
        self.compiled = self.compiled or self.program.lower(states, alive, data, h).compile()
        losses, curve, seconds, began = [], [], 0.0, time.perf_counter()
        for number in range(1, steps + 1):
            states, alive, metrics = self.compiled(states, alive, data, h)
            losses.append(jnp.where(alive, metrics["loss"], jnp.nan))
            if monitor is not None and number in monitor.updates:
                jax.block_until_ready(losses[-1])
                seconds += time.perf_counter() - began
                readings = monitor.readings(states.params, monitor.batches)
                curve.append(arrived(readings, np.asarray(alive)[: len(pairs)]))
                began = time.perf_counter()
        loss_RU = np.stack(jax.device_get(losses), axis=-1)[: len(pairs)]
        seconds += time.perf_counter() - began
        return Trained(loss_RU, states.params, seconds, tuple(curve))


def readings_of(measure: Callable[[Any, Any], Any]) -> Readings:
    """Compile what is computed of each lane's parameters and of batches: lanes one after another on each device."""
    lane, every = PartitionSpec(AXIS), PartitionSpec()

    def lanes(params: Any, batches: Any) -> Any:
        return jax.lax.map(lambda own: measure(own, batches), params)

    return jax.jit(jax.shard_map(lanes, mesh=lanes_mesh(), in_specs=(lane, every), out_specs=lane, check_vma=False))


def arrived(readings: Any, alive_R: Bool[np.ndarray, "R"]) -> Any:
    """Convert the readings of the first R lanes to float64, with NaN where a lane diverged."""

    def by_lane(x: Any) -> np.ndarray:
        x = np.array(x, np.float64)[: len(alive_R)]
        x[~alive_R] = np.nan
        return x

    return jax.tree.map(by_lane, jax.device_get(readings))


def number_of_parameters(model: Model) -> int:
    """Count the numbers that are learned."""
    shapes = model.parameter_shapes
    return sum(x.size for x in jax.tree.leaves(shapes))


def _hyperparameters(rate: float, seed: int, optimizer: OptimizerConfig, smoothing: float | None) -> Hyperparameters:
    """Return the hyperparameters of a lane."""
    return Hyperparameters(
        seed=jnp.uint32(seed),
        learning_rate=jnp.float32(rate),
        warmup_steps=jnp.float32(optimizer.warmup_steps),
        weight_decay=jnp.float32(optimizer.weight_decay),
        beta1=jnp.float32(optimizer.beta1),
        beta2=jnp.float32(optimizer.beta2),
        initial_scale=jnp.float32(1.0),
        dropout=None,
        label_smoothing=None if smoothing is None else jnp.float32(smoothing),
    )
