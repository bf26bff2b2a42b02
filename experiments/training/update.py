"""One step of training, `update(state, batch, hyperparameters) -> (state, metrics)`: pure, jitted by the caller.

    loss = sum over tokens of weight x nats / sum of weights

Randomness is a function of (seed, step). A batch computed in parts adds up sums, so it has the gradient of the whole
batch whatever the parts' weights.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OptimizerConfig, optimizer, scheduled_rate
from transformer import Model
from transformer.ops.losses import cross_entropy, weighted_sum

Batch = Mapping[str, Array]
Metrics = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """The training state: all that is carried from step to step.

    Attributes:
        step: updates done, int32.
        params: the parameters.
        optimizer: optax's state.
        average: exponential moving average of the parameters, or None.
    """

    step: Array
    params: Any
    optimizer: Any
    average: Any

    @property
    def evaluated_params(self) -> Any:
        """The parameters to evaluate: the average where there is one."""
        return self.params if self.average is None else self.average

    def with_evaluated_params(self, params: Any) -> "State":
        """Replace the parameters to evaluate."""
        changed = {"params": params} if self.average is None else {"average": params}
        return dataclasses.replace(self, **changed)


def initial_state(
    model: Model, config: OptimizerConfig, hyperparameters: Hyperparameters, ema_decay: float | None
) -> State:
    """Build the state before the first update, a function of the hyperparameters' seed and initial scale."""
    params = model.init(jax.random.key(hyperparameters.seed), hyperparameters.initial_scale)
    transform = optimizer(config, hyperparameters, model.parameter_axes(params))
    average = None if ema_decay is None else jax.tree.map(jnp.copy, params)
    return State(jnp.zeros((), jnp.int32), params, transform.init(params), average)


def token_sums(
    model: Model,
    params: Any,
    batch: Batch,
    *,
    key: Array | None = None,
    dropout: Array | None = None,
    smoothing: Array | None = None,
) -> tuple[Array, Metrics]:
    """Sum over the labels of a batch: the objective, and `nats`, `correct` and `tokens` (the loss weights).

    Labels are B T, or B of a classifier.
    """
    out = model.apply(params, batch, key=key, dropout=dropout)
    logits = out["class_logits"] if "class_logits" in out else out["logits"]
    labels, weights = batch["labels"], batch["loss_weights"]
    nats, tokens = weighted_sum(cross_entropy(logits, labels), weights)
    correct, _ = weighted_sum((jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(jnp.float32), weights)
    objective = nats if smoothing is None else weighted_sum(cross_entropy(logits, labels, smoothing), weights)[0]
    return objective, {"nats": nats, "correct": correct, "tokens": tokens}


def make_update(
    model: Model, config: OptimizerConfig, *, steps: int, accumulation: int = 1, ema_decay: float | None = None
) -> Callable[[State, Batch, Hyperparameters], tuple[State, Metrics]]:
    """Build the update of a model and an optimizer.

    Args:
        steps: length of the schedule.
        accumulation: number of parts that the batch is computed in; must divide it.
        ema_decay: of the averaged parameters; at step t at most (1 + t) / (10 + t), so that the start is forgotten.

    Returns:
        `update`. Its metrics: loss (nats per token, without smoothing), accuracy (of tokens), gradient_norm,
        learning_rate, tokens.
    """

    def gradients(params: Any, batch: Batch, key: Array, h: Hyperparameters) -> tuple[Any, Metrics]:
        def objective(params: Any) -> tuple[Array, Metrics]:
            return token_sums(model, params, batch, key=key, dropout=h.dropout, smoothing=h.label_smoothing)

        return jax.grad(objective, has_aux=True)(params)

    def accumulated(params: Any, batch: Batch, key: Array, h: Hyperparameters) -> tuple[Any, Metrics]:
        parts = jax.tree.map(lambda x: x.reshape(accumulation, x.shape[0] // accumulation, *x.shape[1:]), dict(batch))

        def gradients_of_part(i: Array | int) -> tuple[Any, Metrics]:
            return gradients(params, jax.tree.map(lambda x: x[i], parts), jax.random.fold_in(key, i), h)

        def add_part(total: Any, i: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradients_of_part(i)), None

        return jax.lax.scan(add_part, gradients_of_part(0), jnp.arange(1, accumulation))[0]

    def update(state: State, batch: Batch, hyperparameters: Hyperparameters) -> tuple[State, Metrics]:
        h = hyperparameters
        key = jax.random.fold_in(jax.random.key(h.seed), state.step)
        compute = gradients if accumulation == 1 else accumulated
        gradient, sums = compute(state.params, batch, key, h)
        total = jnp.maximum(sums["tokens"], 1e-9)
        gradient = jax.tree.map(lambda g: g / total, gradient)
        rate = scheduled_rate(config, h, state.step, steps)
        transform = optimizer(config, h, model.parameter_axes(state.params))
        direction, optimizer_state = transform.update(gradient, state.optimizer, state.params)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        average = state.average if ema_decay is None else averaged(state.average, params, state.step, ema_decay)
        metrics = {
            "loss": sums["nats"] / total,
            "accuracy": sums["correct"] / total,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate": rate,
            "tokens": sums["tokens"],
        }
        return State(state.step + 1, params, optimizer_state, average), metrics

    return update


def averaged(average: Any, params: Any, step: Array, decay: float) -> Any:
    """Update the moving average by one step."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, p: decay * a + (1.0 - decay) * p, average, params)
