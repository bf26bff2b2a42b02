"""A config made concrete: data, tokenizer, task, model and hyperparameters, before anything compiles."""

import dataclasses
from typing import Any

import jax

from experiments.data.sources import load
from experiments.data.tokenizers import Characters, fit
from experiments.tasks.text_to_text import TextToText, build_task
from experiments.training.hyperparameters import Hyperparameters, hyperparameters
from experiments.training.update import State, initial_state, make_update
from transformer import Model, build
from transformer.errors import problem
from transformer.nn.positions import POSITIONS


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a run consists of. `config` has all that the data decides filled in."""

    config: Any
    task: TextToText
    model: Model
    hyperparameters: Hyperparameters

    def initial_state(self, hyperparameters: Hyperparameters) -> State:
        """The state before the first update."""
        training = self.config.training
        return initial_state(self.model, self.config.optimizer, hyperparameters, training.ema_decay)

    def update(self) -> Any:
        """The update, compiled when it is first called; it donates the state."""
        training = self.config.training
        update = make_update(
            self.model,
            self.config.optimizer,
            steps=training.steps,
            accumulation=training.accumulation,
            ema_decay=training.ema_decay,
        )
        return jax.jit(update, donate_argnums=0)


def set_up(config: Any, tokenizer: Characters | None = None) -> Experiment:
    """The experiment of a resolved config.

    Args:
        tokenizer: that of an earlier run; None fits one to the training split.

    Raises:
        UserError: the data and the settings do not fit each other.
    """
    splits = load(config.data, config.seed)
    texts = (text for pair in splits.train for text in (pair.source, pair.target))
    tokenizer = tokenizer or fit(config.tokenizer, texts)
    task = build_task(
        config.task,
        config.model.architecture,
        splits,
        tokenizer,
        batch_size=config.training.batch_size,
        num_buckets=config.data.num_buckets,
        seed=config.seed,
    )
    answer = config.decoding.max_new_tokens or task.slots
    if task.frame.fixed_slots and answer > task.slots:
        raise problem(
            f"architecture {config.model.architecture!r} has a slot for each token of the longest training target",
            got=f"decoding.max_new_tokens {answer}",
            expected=f"at most {task.slots}, or none",
        )
    model = _fill_in(config.model, tokenizer, task.longest_with(answer)).resolved()
    config = dataclasses.replace(config, model=model)
    experiment = Experiment(config, task, build(model), hyperparameters(config))
    jax.eval_shape(experiment.initial_state, experiment.hyperparameters)  # a score of the user's own may fail here
    return experiment


def _fill_in(model: Any, tokenizer: Characters, longest: int) -> Any:
    """The model's settings that the data decides, or errors where those given do not fit it."""
    vocab_size = model.vocab_size or tokenizer.size
    if vocab_size < tokenizer.size:
        raise problem(
            "model.vocab_size is smaller than the tokenizer's vocabulary",
            got=vocab_size,
            expected=f"{tokenizer.size} or more",
            do="Leave it out: it is then taken from the tokenizer.",
        )
    model = dataclasses.replace(model, vocab_size=vocab_size)
    if POSITIONS[model.position].adds != "table":
        return model
    max_length = model.max_length or longest
    if max_length < longest:
        raise problem(
            "model.max_length, the table of learned positions, is shorter than the longest sequence",
            got=max_length,
            expected=f"{longest} or more",
            do="Leave it out: it is then taken from the data. Or set model.position to one without a table.",
        )
    return dataclasses.replace(model, max_length=max_length)
