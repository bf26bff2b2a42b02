"""Fitting a model to batches of one's own, by the same update, loop and checkpoints as an experiment."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jax import Array

from experiments.training.config import OutputConfig, TrainingConfig
from experiments.training.hyperparameters import Hyperparameters
from experiments.training.optimizers import OptimizerConfig
from experiments.training.own_batches import as_arrays, batches_from, checked, held_out_batches
from experiments.training.own_loss import own_objective
from experiments.training.update import Batch, Metrics, Parts, State, steps_of, token_sums, update_of
from transformer import Model, schema
from transformer.errors import problem, with_article, written

Loss = Callable[[Any, Batch, Array | None], Any]
"""(params, batch, key) -> a scalar, or a scalar and a dict of scalars; the key is None in evaluations."""

BEST, MODE = "loss", "min"
"""The metric that selects the best checkpoint, and its direction."""


@dataclasses.dataclass(frozen=True)
class Fitting:
    """A model and what it is fitted with, in the form that the training loop takes.

    Attributes:
        model: the model.
        parts: objective, optimizer and schedule.
        hyperparameters: seed, learning rate and the like.
        config: training settings; a namespace with `training`.
        task: a namespace with the batches and the held-out ones.
    """

    model: Model
    parts: Parts
    hyperparameters: Hyperparameters
    config: Any
    task: Any

    def initial_state(self, hyperparameters: Hyperparameters) -> State:
        """Build the state before the first update."""
        return self.state_of(self.model.init(jax.random.key(hyperparameters.seed)))

    def state_of(self, params: Any) -> State:
        """Build the state before the first update, with these parameters."""
        transform = self.parts.transform(self.hyperparameters, params)
        return State(jnp.zeros((), jnp.int32), params, transform.init(params), None)

    @property
    def state_shapes(self) -> State:
        """The shapes and types of `initial_state`; nothing is computed."""
        return jax.eval_shape(self.initial_state, self.hyperparameters)

    def started(self) -> State:
        """Compute the state before the first update."""
        return jax.jit(self.initial_state)(self.hyperparameters)

    placement: ClassVar[None] = None
    """A fit has one device."""

    def training_batches(self, first: int) -> Iterator[Batch]:
        """Yield the batches of steps from `first` on."""
        batches: Iterator[Batch] = self.task.training_batches(first)
        return batches

    def put(self, batch: Batch) -> Batch:
        """Return a batch as it is."""
        return batch

    def update(self) -> Any:
        """Return the jitted update; it donates the state."""
        return jax.jit(update_of(self.parts), donate_argnums=0)

    def named(self, totals: Mapping[str, float]) -> dict[str, float]:
        """Return metrics under their own names."""
        return dict(totals)


class Scores:
    """The scores of held-out batches: means over tokens, or over batches for a loss of the caller's own."""

    def __init__(self, parts: Parts, hyperparameters: Hyperparameters) -> None:
        def means(params: Any, batch: Batch) -> Metrics:
            return parts.objective(params, batch, None, hyperparameters)[1]

        self._sums = jax.jit(means)

    def score(self, params: Any, batches: Sequence[Batch]) -> dict[str, float]:
        """Compute the scores of some batches."""
        sums = [jax.tree.map(float, self._sums(params, batch)) for batch in batches]
        total = sum(each["tokens"] for each in sums) or float("nan")
        names = {"nats": "loss", "correct": "accuracy"}
        return {names.get(n, n): sum(each[n] for each in sums) / total for n in sums[0] if n != "tokens"}


def make_fitting(
    model: Model,
    batches: Any,
    optimizer: Any,
    *,
    steps: int,
    loss: Loss | None = None,
    validation: Any = None,
    batch_size: int = 64,
    seed: int = 0,
    evaluate_every: int | None = None,
) -> Fitting:
    """Check the arguments of `experiments.api.fit`, and put them into the form of the loop.

    Raises:
        UserError: no model, no batches, an optimizer that is not one, or numbers out of range.
    """
    if not isinstance(model, Model):
        do = "Write fit(model, batches, steps=...)."
        got = written(model) if isinstance(model, str) else with_article(type(model).__name__)
        raise problem("not a model", got=got, expected="the result of transformer.build", do=do)
    limits = {"steps": steps, "batch_size": batch_size, "evaluate_every": evaluate_every or 1}
    for name, value in limits.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            do = f"Write, for instance, {name}=100."
            raise problem(f"{name} is out of range", got=written(value), expected="1 or more, a whole number", do=do)
    if type(seed) is not int or schema.a_seed(seed):
        expected = "a whole number from 0 to 2^32 - 1"
        raise problem("seed is out of range", got=written(seed), expected=expected, do="Write, for instance, seed=0.")
    config = optimizer if _is_optax(optimizer) else optimizer_config(optimizer)
    parts = Parts(_objective(model, loss), *_steps(model, config, steps))
    output = OutputConfig(log_every=min(50, steps), evaluate_every=evaluate_every or max(steps // 10, 1), best=BEST)
    training = TrainingConfig(steps=steps, batch_size=batch_size, output=output)
    held_out = [] if validation is None else list(held_out_batches(validation, batch_size))
    check = functools.partial(checked, model) if loss is None else as_arrays
    task = SimpleNamespace(
        named=dict,
        splits=SimpleNamespace(validation=[check(batch) for batch in held_out], test=[]),
        training_batches=lambda first: map(check, batches_from(batches, first, batch_size, seed)),
    )
    of_config = config if isinstance(config, OptimizerConfig) else OptimizerConfig()
    return Fitting(model, parts, _hyperparameters(of_config, model, seed), SimpleNamespace(training=training), task)


def optimizer_config(optimizer: Any) -> OptimizerConfig:
    """Return the settings of an optimizer that is given by its name, by a dict of settings, or by the settings.

    Raises:
        UserError: it is none of these, or a setting is unknown or out of range.
    """
    if isinstance(optimizer, OptimizerConfig):
        return optimizer
    values = {"name": optimizer} if isinstance(optimizer, str) else optimizer
    if not isinstance(values, Mapping):
        expected = "a name, a dict of settings, an OptimizerConfig, or an optax transformation"
        got, do = f"{written(optimizer)} ({type(optimizer).__name__})", 'Write, for instance, optimizer="adamw".'
        if callable(optimizer):
            do = "Call it with its learning rate, such as optax.adam(1e-3)."
        raise problem("not an optimizer", got=got, expected=expected, do=do)
    return schema.from_dict(OptimizerConfig, values, "optimizer")


def _is_optax(optimizer: Any) -> bool:
    return isinstance(optimizer, optax.GradientTransformation)


def _steps(model: Model, config: Any, steps: int) -> tuple[Any, Any]:
    """Build `Parts.transform` and `Parts.rate`; an optax transformation has its own rate, and adds its updates."""
    if isinstance(config, OptimizerConfig):
        return steps_of(model, config, steps)
    subtracted = optax.chain(config, optax.scale(-1.0))
    return lambda hyperparameters, params: subtracted, None


def _hyperparameters(config: OptimizerConfig, model: Model, seed: int) -> Hyperparameters:
    names = ("learning_rate", "warmup_steps", "weight_decay", "beta1", "beta2")
    dropout = model.config.dropout
    return Hyperparameters(
        seed=jnp.asarray(seed, jnp.uint32),
        **{name: jnp.asarray(getattr(config, name), jnp.float32) for name in names},
        initial_scale=jnp.float32(1.0),
        dropout=None if dropout is None else jnp.float32(dropout),
        label_smoothing=None,
    )


def _objective(model: Model, loss: Loss | None) -> Any:
    """Build `Parts.objective`: the cross-entropy of labels, or a loss of the caller's own, of weight 1 a batch."""

    def of_tokens(params: Any, batch: Batch, key: Array | None, h: Hyperparameters) -> tuple[Array, Metrics]:
        return token_sums(model, params, batch, key=key, dropout=None if key is None else h.dropout)

    return of_tokens if loss is None else own_objective(loss)
