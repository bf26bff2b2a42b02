"""A config made concrete: data, tokenizer, task, model and hyperparameters, before anything compiles."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh

from experiments.data.examples import Splits
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.parallel.mesh import mesh_of
from experiments.parallel.placement import Placement
from experiments.tasks.build import build_task, read_examples, reopen_task, task_class
from experiments.tasks.task import Batch, Task, TaskSettings
from experiments.training.hyperparameters import Hyperparameters, hyperparameters
from experiments.training.update import Constraints, State, initial_state, make_update
from transformer import Model, build
from transformer.errors import problem, unknown
from transformer.nn.positions import POSITIONS


@dataclasses.dataclass(frozen=True)
class RunData:
    """Data-dependent part of a run that is stored with it, so that it can answer texts without the data."""

    tokenizers: TokenizerPair
    metadata: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Parts of a run, ready to train. `config` includes the settings that the data determines.

    Attributes:
        placement: what each device of a mesh has; None: one device has all.
    """

    config: Any
    task: Task
    model: Model
    hyperparameters: Hyperparameters
    placement: Placement | None = None

    def initial_state(self, hyperparameters: Hyperparameters) -> State:
        """Build the state before the first update."""
        training = self.config.training
        return initial_state(self.model, self.config.optimizer, hyperparameters, training.ema_decay)

    @functools.cached_property
    def state_shapes(self) -> State:
        """The shapes and types of `initial_state`, and on a mesh their shardings; nothing is computed."""
        shapes = jax.eval_shape(self.initial_state, self.hyperparameters)
        return shapes if self.placement is None else self.placement.with_shardings(shapes)

    def started(self) -> State:
        """Compute the state before the first update; on a mesh no device ever has more than its part."""
        return jax.jit(self.initial_state, out_shardings=self.state_shardings)(self.hyperparameters)

    @property
    def state_shardings(self) -> Any:
        """The sharding of each array of the state; None without a mesh."""
        return None if self.placement is None else jax.tree.map(lambda x: x.sharding, self.state_shapes)

    def training_batches(self, start_step: int) -> Iterator[Batch]:
        """Yield the batches of the task from a step on; of several processes, each has its part of the examples."""
        if self.placement is None or self.placement.share[1] == 1:
            return self.task.training_batches(start_step)
        return self.task.batches.starting_at(start_step, part=self.placement.rows)

    def put(self, batch: Batch) -> Batch:
        """Put a batch on the devices of the mesh; without one it stays as it is."""
        return batch if self.placement is None else self.placement.put(batch)

    def shapes(self, batch: Batch) -> Batch:
        """Return what stands for a batch where an update is lowered: on a mesh its shapes and shardings."""
        return batch if self.placement is None else self.placement.shapes(batch)

    def update(self) -> Any:
        """Return the jitted update; it donates the state."""
        placed = None if self.placement is None else (self.state_shardings, self.placement.whole)
        return jax.jit(self.update_of_one(), donate_argnums=0, out_shardings=placed)

    def update_of_one(self) -> Any:
        """Return the pure function that `update` compiles."""
        training, placed = self.config.training, self.placement
        return make_update(
            self.model,
            self.config.optimizer,
            steps=training.steps,
            accumulation=training.accumulation,
            ema_decay=training.ema_decay,
            constraints=None
            if placed is None
            else Constraints(placed.gathered, placed.sites, placed.mesh.size, placed.in_pieces),
        )

    def largest_batch(self) -> tuple[tuple[int, ...], int]:
        """Find the batch shape with the largest attention scores, examples x longest^2, and a step with that shape."""
        census = self.task.plan.census
        shape = max(census, key=lambda shape: shape[0] * max(shape[1:]) ** 2)
        return shape, census[shape][0]


def set_up(config: Any, run_data: RunData | None = None, *, read_data: bool = True, placed: bool = False) -> Experiment:
    """Build the experiment of a resolved config.

    Args:
        run_data: the tokenizers and metadata of an earlier run; None: fit tokenizers to the training split.
        read_data: False: build a task that can only answer texts, from `run_data`.
        placed: True to place it on the mesh of the config, for training; False: one device has all.

    Raises:
        UserError: the data and the settings, or the mesh and the devices, do not fit each other.
    """
    mesh = mesh_of(config.mesh) if placed else None
    if placed and mesh is None and jax.process_count() > 1:
        do = "Set, for instance, --config.mesh.data=-1 or --config.mesh.fsdp=-1."
        raise problem("several processes need a mesh", got=f"{jax.process_count()} processes", do=do)
    settings = task_settings(config)
    if read_data:
        splits = read_examples(settings, config.data)
        task = build_task(settings, splits, _tokenizers(config, splits) if run_data is None else run_data.tokenizers)
    else:
        task = reopen_task(settings, run_data.tokenizers, run_data.metadata)
    answer = config.decoding.max_new_tokens
    if answer is not None and task.fixed_answer_length and answer > task.max_answer_length:
        what = f"architecture {str(config.model.architecture)!r} fills mask slots"
        raise problem(
            f"{what}, as many as the longest training answer has",
            got=f"decoding.max_new_tokens {answer}",
            expected=f"at most {task.max_answer_length}, or none",
        )
    model = _fill_in(config.model, task, answer)
    if model.max_length is not None and settings.limit is None:  # so that it reads texts as when the run is opened
        task = task.limited(model.max_length)
    output = dataclasses.replace(config.training.output, best=_best(config.training.output.best, task))
    training = dataclasses.replace(config.training, output=output)
    config = dataclasses.replace(config, model=model, training=training)
    built = build(model)
    placement = None if mesh is None else _placement(mesh, config, task, built)
    experiment = Experiment(config, task, built, hyperparameters(config), placement)
    _ = experiment.state_shapes  # a score of the user's own may fail here
    return experiment


def _placement(mesh: Mesh, config: Any, task: Task, model: Model) -> Placement:
    """Place the run of a config on a mesh."""
    placement = Placement(mesh, model, task.batches.at(0), config.mesh.rules)
    training = config.training
    placement.check_batches(task.plan.shapes, training.accumulation, training.batch_tokens is not None)
    return placement


def _tokenizers(config: Any, splits: Splits) -> TokenizerPair:
    """Fit the tokenizers of a config to the training split."""
    texts = task_class(config.task, config.model.architecture).texts(splits)
    return TokenizerPair.fit(config.tokenizer, *texts)


def task_settings(config: Any) -> TaskSettings:
    """Collect what the task reads of a config."""
    training, data = config.training, config.data
    return TaskSettings(
        config.task,
        config.model.architecture,
        seed=config.data_seed,
        batch_size=training.batch_size,
        batch_tokens=training.batch_tokens,
        accumulation=training.accumulation,
        num_buckets=data.num_buckets,
        length_multiple=data.length_multiple,
        limit=config.model.max_length,
        too_long=data.too_long,
    )


def _best(name: str | None, task: Task) -> str:
    """Return the metric that selects the best checkpoint: the task's first unless one is named."""
    if name is None:
        return next(iter(task.metrics))
    if name not in task.metrics:
        raise unknown("value of training.output.best", name, task.metrics)
    return name


def _fill_in(model: Any, task: Task, answer: int | None) -> Any:
    """Fill in the model's settings that the data determines; raise a UserError where a given one does not fit."""
    vocab_size = model.vocab_size or task.vocab_size
    if vocab_size < task.vocab_size:
        raise problem(
            "model.vocab_size is smaller than the tokenizer's vocabulary",
            got=vocab_size,
            expected=f"{task.vocab_size} or more",
            do="Leave it out: it is then taken from the tokenizer.",
        )
    if task.classes is None and not model.token_head.present:
        got, do = "model.token_head.present false", "Set it to true, or choose task classification."
        raise problem("the task reads logits of tokens, and the model has no head", got=got, do=do)
    classes = model.class_head.classes or (None if task.classes is None else len(task.classes))
    if classes is not None and (task.classes is None or classes < len(task.classes)):
        raise problem(
            "model.class_head.classes does not fit the task",
            got=classes,
            expected="none" if task.classes is None else f"{len(task.classes)} or more, one for each label",
            do="Leave it out: it is then taken from the data.",
        )
    if not POSITIONS.of(model, "position").is_bounded:
        return model.with_sizes(vocab_size, model.max_length, classes)
    longest = task.max_sequence_length(answer)
    max_length = model.max_length or longest
    if max_length < longest:
        raise problem(
            "model.max_length, the table of learned positions, is shorter than the longest sequence",
            got=max_length,
            expected=f"{longest} or more",
            do="Leave it out: it is then taken from the data. Or set model.position to one without a table.",
        )
    return model.with_sizes(vocab_size, max_length, classes)
