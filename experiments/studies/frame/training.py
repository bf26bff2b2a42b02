"""Training of a model with each seed and each learning rate, as lanes of one program.

The data are drawn inside the program: batch i of a lane is sample(key of (seed, i), data), so lanes of one seed train
on the same batches whatever their learning rate, and so does another model.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float

from experiments.sweeping.lanes import lanes_mesh, make_lanes, mode_of, padded, started
from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OptimizerConfig
from experiments.training.update import Batch, initial_state, make_update, token_sums
from transformer import Model

Sample = Callable[[Array, Any], Batch]
"""A function (key, data) -> batch, with labels and loss_weights; traced."""

OPTIMIZER = OptimizerConfig(warmup_steps=20, weight_decay=0.0)
DATA, HELD_OUT = 1, 2
"""Numbers folded into a key: streams beside those of parameters and dropout."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """Lanes after training: A learning rates, R seeds."""

    loss_ARU: Float[np.ndarray, "A R U"]
    """Loss at each update U, nats per token of its batch; NaN once a lane has diverged."""
    params: Any
    """Parameters with a leading axis A x R, rates first."""
    seconds: float
    """Time of the updates, without compilation."""

    def each(self, measure: Callable[[Any], Any]) -> Any:
        """Compute `measure` of each lane's parameters, with leading A R; NaN where a lane diverged."""
        values = jax.device_get(jax.jit(lambda params: jax.lax.map(measure, params))(self.params))
        diverged_AR = np.isnan(self.loss_ARU[:, :, -1])

        def by_lane(x: np.ndarray) -> np.ndarray:
            x = np.array(x, np.float64).reshape(*diverged_AR.shape, *x.shape[1:])
            x[diverged_AR] = np.nan
            return x

        return jax.tree.map(by_lane, values)


def train_lanes(
    model: Model,
    sample: Sample,
    data: Any,
    *,
    seeds: Sequence[int],
    steps: int,
    rates: Sequence[float] = (1e-3,),
    optimizer: OptimizerConfig = OPTIMIZER,
    smoothing: float | None = None,
    name: str = "",
) -> Trained:
    """Train the lanes of all rates and seeds; one program is compiled.

    Args:
        model: a model from `transformer.build`.
        sample: draws a batch.
        data: the second argument of `sample`; the same for all lanes.
        rates: peak learning rates.
        smoothing: label smoothing; the recorded losses are without it.
        name: start of the line printed after training; "": nothing is printed.
    """
    update = make_update(model, optimizer, steps=steps)

    def step(state: Any, data: Any, h: Hyperparameters) -> tuple[Any, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(h.seed), DATA), state.step)
        return update(state, sample(key, data), h)

    mesh, lanes = lanes_mesh(), len(rates) * len(seeds)
    hyperparameters = [_hyperparameters(rate, seed, optimizer, smoothing) for rate in rates for seed in seeds]
    initialise = jax.jit(lambda h: initial_state(model, optimizer, h, None))
    states, alive, h = started(initialise, hyperparameters, padded(lanes, mesh.size), mesh)
    data = jax.device_put(data, NamedSharding(mesh, PartitionSpec()))
    program = make_lanes(step, mode_of("auto"), mesh, shared=True).lower(states, alive, data, h).compile()
    began, losses = time.perf_counter(), []
    for _ in range(steps):
        states, alive, metrics = program(states, alive, data, h)
        losses.append(jnp.where(alive, metrics["loss"], jnp.nan))
    loss_ARU = np.stack(jax.device_get(losses), axis=-1)[:lanes].reshape(len(rates), len(seeds), steps)
    seconds = time.perf_counter() - began
    if name:
        print(f"  {name}: {steps} updates x {lanes} lanes in {seconds:.1f} s", flush=True)
    return Trained(loss_ARU, jax.tree.map(lambda x: jnp.asarray(np.asarray(x)[:lanes]), states.params), seconds)


def held_out(sample: Sample, data: Any, count: int = 1) -> list[Batch]:
    """Draw batches of a stream that no lane is trained on."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), HELD_OUT), count)
    return [jax.jit(sample)(key, data) for key in keys]


def scores(model: Model, trained: Trained, batches: Sequence[Batch]) -> Mapping[str, Float[np.ndarray, "A R"]]:
    """Compute the nats per token and the accuracy of each lane on batches of one shape."""
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batches)

    def one(params: Any) -> Mapping[str, Array]:
        sums = jax.tree.map(jnp.sum, jax.lax.map(lambda batch: token_sums(model, params, batch)[1], stacked))
        return {"loss": sums["nats"] / sums["tokens"], "accuracy": sums["correct"] / sums["tokens"]}

    return trained.each(one)


def best_rate(loss_AR: Float[np.ndarray, "A R"]) -> int:
    """Return the index of the learning rate with the least mean loss; one at which a seed diverged comes last."""
    return int(np.argmin(np.where(np.isnan(loss_AR), np.inf, loss_AR).mean(axis=1)))


def number_of_parameters(model: Model) -> int:
    """Count the numbers that are learned."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
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
