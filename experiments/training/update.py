"""One step of training, `update(state, batch, hyperparameters) -> (state, metrics)`: pure, jitted by the caller.

    loss = sum over tokens of weight x nats / sum of weights

Randomness is a function of (seed, step). A batch computed in parts adds up sums, so it has the gradient of the whole
batch whatever the parts' weights.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OptimizerConfig, optimizer, scheduled_rate
from transformer import Model
from transformer.models.base import Replace
from transformer.ops.losses import cross_entropy, weighted_sum
from transformer.ops.reductions import global_norm

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


class Constraints(NamedTuple):
    """Constraints that hold the parameters and activations of a pass to the devices of a mesh.

    Attributes:
        params: parameters -> the same, as the pass reads them.
        activations: functions of named activations, as `Model.apply` takes `replace`.
        devices: number of devices that share the logits.
        in_pieces: function that divides an array B T ... into so many pieces, each of which all devices share.
    """

    params: Callable[[Any], Any]
    activations: Replace
    devices: int
    in_pieces: Callable[[Array, int], Array]


def token_sums(
    model: Model,
    params: Any,
    batch: Batch,
    *,
    key: Array | None = None,
    dropout: Array | None = None,
    smoothing: Array | None = None,
    constraints: Constraints | None = None,
) -> tuple[Array, Metrics]:
    """Sum over the labels of a batch: the objective, and `nats`, `correct` and `tokens` (the loss weights).

    Labels are B T, or B of a classifier. Logits of tokens that are more than MOST_LOGITS, on one device, are computed
    in pieces, which are computed again for the gradient, so that they are never held at once.
    """
    if constraints is not None:
        params = constraints.params(params)
    replace = None if constraints is None else constraints.activations
    out = model.apply(params, batch, key=key, dropout=dropout, replace=replace)
    labels, weights = batch["labels"], batch["loss_weights"]
    if "class_logits" in out:
        return label_sums(out["class_logits"], labels, weights, smoothing)
    divide, devices = (_in_pieces, 1) if constraints is None else (constraints.in_pieces, constraints.devices)
    pieces = -(-out["logits"].size // (MOST_LOGITS * devices))
    if pieces == 1:
        return label_sums(out["logits"], labels, weights, smoothing)

    @jax.checkpoint
    def sums_of_piece(params: Any, hidden_PD: Array, labels_P: Array, weights_P: Array) -> tuple[Array, Metrics]:
        return label_sums(model.unembed(params, hidden_PD), labels_P, weights_P, smoothing)

    def add_piece(total: Any, piece: tuple[Array, Array, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, sums_of_piece(params, *piece)), None

    rows = tuple(divide(x, pieces) for x in (out["hidden"], labels, weights))
    shapes = jax.eval_shape(sums_of_piece, params, *(x[0] for x in rows))
    total, _ = jax.lax.scan(add_piece, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), rows)
    return total


def _in_pieces(x: Array, pieces: int) -> Array:
    """Divide the tokens of an array B T ... into pieces, the last one filled up with zeros (of no weight)."""
    flat = x.reshape(-1, *x.shape[2:])
    size = -(-flat.shape[0] // pieces)
    flat = jnp.pad(flat, [(0, size * pieces - flat.shape[0]), *[(0, 0)] * (flat.ndim - 1)])
    return flat.reshape(pieces, size, *flat.shape[1:])


def label_sums(logits: Array, labels: Array, weights: Array, smoothing: Array | None = None) -> tuple[Array, Metrics]:
    """Sum over labels, of any axes, one for each vector of logits; see `token_sums`."""
    nats, tokens = weighted_sum(cross_entropy(logits, labels), weights)
    correct, _ = weighted_sum((jnp.argmax(logits, axis=-1).astype(labels.dtype) == labels).astype(jnp.float32), weights)
    objective = nats if smoothing is None else weighted_sum(cross_entropy(logits, labels, smoothing), weights)[0]
    return objective, {"nats": nats, "correct": correct, "tokens": tokens}


MOST_LOGITS = 2**26
"""Most logits of a batch that a device holds at once, 256 MiB in float32."""


class Parts(NamedTuple):
    """The parts of an update that may differ from one training to another."""

    objective: Callable[[Any, Batch, Array, Hyperparameters], tuple[Array, Metrics]]
    """(params, batch, key, hyperparameters) -> a sum over the batch, and sums by name; `tokens` is the weight."""
    transform: Callable[[Hyperparameters, Any], optax.GradientTransformation]
    """(hyperparameters, params) -> the direction, which is subtracted, from the gradient."""
    rate: Callable[[Array, Hyperparameters], Array] | None
    """(step, hyperparameters) -> factor on the direction; None: 1, and no learning rate is among the metrics."""


MEANS = {"nats": "loss", "correct": "accuracy"}
"""Sum of an objective -> name of its mean; of any other sum, its own name."""


def make_update(
    model: Model,
    config: OptimizerConfig,
    *,
    steps: int,
    accumulation: int = 1,
    ema_decay: float | None = None,
    constraints: Constraints | None = None,
) -> Callable[[State, Batch, Hyperparameters], tuple[State, Metrics]]:
    """Build the update of a model and an optimizer, by the cross-entropy of its labels.

    Args:
        constraints: of a mesh of devices; None: one device.
        steps: length of the schedule.
        accumulation: number of parts that the batch is computed in; must divide it.
        ema_decay: of the averaged parameters; at step t at most (1 + t) / (10 + t), so that the start is forgotten.

    Returns:
        `update`. Its metrics: loss (nats per token, without smoothing), accuracy (of tokens), gradient_norm,
        learning_rate, tokens.
    """

    def objective(params: Any, batch: Batch, key: Array, h: Hyperparameters) -> tuple[Array, Metrics]:
        given = {"dropout": h.dropout, "smoothing": h.label_smoothing}
        return token_sums(model, params, batch, key=key, constraints=constraints, **given)

    return update_of(Parts(objective, *steps_of(model, config, steps)), accumulation=accumulation, ema_decay=ema_decay)


def steps_of(model: Model, config: OptimizerConfig, steps: int) -> tuple[Any, Any]:
    """Build the `transform` and the `rate` of a config: its optimizer, and its schedule of so many steps."""

    def transform(h: Hyperparameters, params: Any) -> optax.GradientTransformation:
        return optimizer(config, h, model.parameter_axes(params))

    def rate(step: Array, h: Hyperparameters) -> Array:
        return scheduled_rate(config, h, step, steps)

    return transform, rate


def update_of(
    parts: Parts, *, accumulation: int = 1, ema_decay: float | None = None
) -> Callable[[State, Batch, Hyperparameters], tuple[State, Metrics]]:
    """Build the update of an objective, an optimizer and a schedule; see `make_update`."""

    def gradients(params: Any, batch: Batch, key: Array, h: Hyperparameters) -> tuple[Any, Metrics]:
        return jax.grad(lambda params: parts.objective(params, batch, key, h), has_aux=True)(params)

    def accumulated(params: Any, batch: Batch, key: Array, h: Hyperparameters) -> tuple[Any, Metrics]:
        pieces = jax.tree.map(lambda x: x.reshape(accumulation, x.shape[0] // accumulation, *x.shape[1:]), dict(batch))

        @jax.jit  # traced once, for the shapes of the sum and for the loop
        def gradients_of_piece(params: Any, pieces: Any, key: Array, h: Any, i: Array) -> tuple[Any, Metrics]:
            return gradients(params, jax.tree.map(lambda x: x[i], pieces), jax.random.fold_in(key, i), h)

        def add_piece(total: Any, i: Array) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, gradients_of_piece(params, pieces, key, h, i)), None

        indices = jnp.arange(accumulation)
        shapes = jax.eval_shape(gradients_of_piece, params, pieces, key, h, indices[0])
        return jax.lax.scan(add_piece, jax.tree.map(jnp.zeros_like, shapes), indices)[0]

    def update(state: State, batch: Batch, hyperparameters: Hyperparameters) -> tuple[State, Metrics]:
        h = hyperparameters
        key = jax.random.fold_in(jax.random.key(h.seed), state.step)
        compute = gradients if accumulation == 1 else accumulated
        gradient, sums = compute(state.params, batch, key, h)
        total = jnp.maximum(sums["tokens"], 1e-9)
        gradient = jax.tree.map(lambda g: g / total, gradient)
        transform = parts.transform(h, state.params)
        direction, optimizer_state = transform.update(gradient, state.optimizer, state.params)
        rate = 1.0 if parts.rate is None else parts.rate(state.step, h)
        params = jax.tree.map(lambda p, d: p - rate * d, state.params, direction)
        average = state.average if ema_decay is None else averaged(state.average, params, state.step, ema_decay)
        metrics = {
            **{MEANS.get(name, name): value / total for name, value in sums.items() if name != "tokens"},
            "gradient_norm": global_norm(gradient),
            **({} if parts.rate is None else {"learning_rate": rate}),
            "tokens": sums["tokens"],
        }
        return State(state.step + 1, params, optimizer_state, average), metrics

    return update


def averaged(average: Any, params: Any, step: Array, decay: float) -> Any:
    """Update the moving average by one step."""
    decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda a, p: decay * a + (1.0 - decay) * p, average, params)
