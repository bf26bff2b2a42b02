"""Named sizes of a causal language model, in which benchmarks train on random tokens.

    nano_4x128      4 layers, D 128, 4 heads, T 64, batch 12, V 65        nanoGPT's setting for a CPU
    nano_6x384      6 layers, D 384, 6 heads, T 256, batch 8, V 65        its setting for a GPU, a smaller batch
    gpt2_12x768     12 layers, D 768, 12 heads, T 1,024, batch 8, V 50,257    GPT-2 124M

All are pre-norm with layer norms, learned positions, GELU by tanh, one table for input and output, no bias, no dropout,
and train by AdamW at a constant rate with the gradient's norm at most 1. A size is a recipe whose text is drawn from
the seed, so that `--config.model....` overrides it as any other.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from experiments import settings
from experiments.data.examples import Splits
from experiments.data.machine import free_memory, too_large
from experiments.data.streams import Stream, Windows
from experiments.tasks.objectives import Causal
from experiments.training.experiment import Experiment, task_settings
from experiments.training.hyperparameters import hyperparameters
from transformer import build
from transformer.errors import find_row, problem
from transformer.nn.module_rows import family
from transformer.nn.positions import POSITIONS


class Size(NamedTuple):
    """Sizes of a model and of its batches."""

    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocabulary: int


SIZES = {
    "nano_4x128": Size(layers=4, width=128, heads=4, context=64, batch=12, vocabulary=65),
    "nano_6x384": Size(layers=6, width=384, heads=6, context=256, batch=8, vocabulary=65),
    "gpt2_12x768": Size(layers=12, width=768, heads=12, context=1024, batch=8, vocabulary=50257),
}
"""Name -> the sizes."""

BATCHES = 20
"""Number of batches, after which they begin anew, in another order."""

OVERRIDABLE = ("model.", "optimizer.", "seed", "task.context")
OVERRIDABLE_TRAINING = ("batch_size", "accumulation", "ema_decay", "label_smoothing", "initial_scale")
"""Settings that a size reads: beginnings of their names, and those of section `training`."""


def recipe(size: Size) -> ConfigDict:
    """Return the recipe of a size."""
    c = settings.defaults(task="language_modelling", data="files")
    c.task.context = size.context
    c.model.update(architecture="decoder_only", num_layers=size.layers, width=size.width, num_heads=size.heads)
    c.model.update(vocab_size=size.vocabulary, position="learned", activation="gelu_tanh", bias=False, unroll=True)
    c.optimizer.update(learning_rate=1e-3, schedule="constant", warmup_steps=0, clip_norm=1.0)
    c.training.batch_size = size.batch
    return c


def size_experiment(name: str, overrides: Sequence[tuple[str, str]]) -> tuple[Experiment, list[str]]:
    """Build the experiment of a named size; return it with a line for each setting that is left out.

    Raises:
        UserError: no such size, or an override that it does not read.
    """
    size = find_row("size", SIZES, name)
    for setting, text in overrides:
        if not _is_read(setting):
            do = "Give a recipe by --config, or leave it out. The length of a sequence is task.context."
            raise problem(f"{setting} is not read with a size, whose batches are random tokens", got=text, do=do)
    config, notes = settings.resolve(recipe(size), overrides)
    if family(config.model.architecture) != "decoder_only":
        got = f"model.architecture {config.model.architecture}"
        do = "Time another architecture by a recipe: --config=RECIPE."
        raise problem("a size is a causal language model", got=got, expected="decoder_only, or one like it", do=do)
    bounded = POSITIONS.of(config.model, "position").is_bounded
    model = config.model.with_sizes(config.model.vocab_size, config.task.context if bounded else None, None)
    config = dataclasses.replace(config, model=model)
    return Experiment(config, random_text(config), build(model), hyperparameters(config)), notes


def _is_read(setting: str) -> bool:
    section, _, last = setting.partition(".")
    if section == "training":
        return last in OVERRIDABLE_TRAINING
    return setting.startswith(OVERRIDABLE) and setting != "model.max_length"


def random_text(config: settings.Config) -> Causal:
    """Build the task of a stream of random tokens, a function of the seed.

    Raises:
        UserError: it does not fit in memory.
    """
    context, rows = config.task.context, config.training.batch_size
    length = context * (BATCHES * rows + 1)
    free = free_memory()
    if free is not None and 20 * length > free:
        do = "Lower task.context or training.batch_size."
        raise too_large(f"a text of {length:,} random tokens", 20 * length, free, do)
    tokens = np.random.default_rng(config.seed).integers(config.model.vocab_size, size=length + 1, dtype=np.int32)
    stream = Stream(tokens[:-1], tokens[1:], np.ones(length, np.int32))
    plan = Windows(length, context, rows, config.data_seed)
    return Causal(None, Splits([], [], []), task_settings(config), plan, (), stream)
