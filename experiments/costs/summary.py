"""The lines that describe a run before it starts: the model, the data and the programs that will compile.

WORKDIR/costs.json    "parameters", "operations" (of matrix products, an example and step), "lanes" (trials that
                      were trained together, which share their seconds), "attention" (the forms that compute it),
                      "examples" (in a step, a mean)
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import Array

from experiments.costs import flops
from experiments.data.stored_json import Fields, read_json, whole
from experiments.storage.workdir import write_text_atomically
from experiments.training.experiment import Experiment
from experiments.training.update import Batch, token_sums

MOST_SHAPES = 6
"""Maximum number of batch shapes whose operations are counted; tracing one takes a fraction of a second."""


class Costs(NamedTuple):
    """The costs of a run that do not depend on the machine.

    Attributes:
        parameters: number of the model's parameters.
        operations: operations of matrix products in a training step, per example.
        lanes: number of trials that were trained in one program, which share the seconds of metrics.jsonl.
        attention: forms that compute attention, and of which parts of the model; see `attention_in_words`.
        examples: examples in a training step, a mean; 0 in records of earlier versions.
    """

    parameters: int
    operations: float
    lanes: int = 1
    attention: str = ""
    examples: float = 0.0


NAME = "costs.json"

SHAPE = Fields(
    {"parameters": whole(0, 2**62), "operations": float, "lanes": whole(1, 2**31)},
    optional={"attention": str, "examples": float},
)
"""Shape of costs.json."""


def costs_of(experiment: Experiment) -> Costs:
    """Count the parameters of an experiment, and its operations as a mean over the commonest shapes of batches."""
    params = experiment.state_shapes.params
    commonest = sorted(experiment.task.plan.census.values(), key=lambda census: -census[1])[:MOST_SHAPES]
    total, examples, counted = 0, 0, []
    for first_step, batches in commonest:
        batch = experiment.task.batches.at(first_step)
        counted.append(operations_of_batch(experiment, batch))
        total += batches * counted[-1].total.products
        examples += batches * len(batch["labels"])
    parameters = sum(x.size for x in jax.tree.leaves(params))
    forms = attention_in_words(x.forms for x in counted)
    per_step = examples / sum(batches for _, batches in commonest)
    return Costs(parameters, total / examples, attention=forms, examples=per_step)


def attention_in_words(forms: Iterable[Mapping[str, tuple[str, ...]]]) -> str:
    """Name the forms that compute attention in some programs, each with the parts of the model.

    >>> attention_in_words([{"decoder, self-attention": ("blocks",), "decoder, cross-attention": ("plain",)}])
    'blocks (decoder, self-attention), plain (decoder, cross-attention)'
    """
    parts: dict[str, dict[str, None]] = {}
    for each in forms:
        for part, names in each.items():
            for name in names:
                parts.setdefault(name, {})[part] = None
    return ", ".join(f"{name} ({'; '.join(parts[name])})" for name in parts)


def write_costs(workdir: Path, costs: Costs) -> None:
    """Write costs.json.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    write_text_atomically(workdir / NAME, json.dumps(costs._asdict()) + "\n")


def read_costs(workdir: Path) -> Costs | None:
    """Read costs.json; None where it is absent, as in runs of earlier versions.

    Raises:
        UserError: the file cannot be read.
    """
    if not (workdir / NAME).exists():
        return None
    record = read_json(workdir / NAME, SHAPE, do="Delete it: the next start of the run writes it again.")
    return Costs(**{name: record[name] for name in Costs._fields if name in record})


def described(experiment: Experiment, costs: Costs, devices: str) -> list[str]:
    """Describe the model, the data and the programs that will compile, a line each.

    Args:
        costs: the result of `costs_of`.
        devices: their description.
    """
    config, task = experiment.config, experiment.task
    sizes = [task.training_size, task.size(task.splits.validation), task.size(task.splits.test)]
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in task.plan.shapes)
    generation = ", 2 of generation" if task.generates else ""
    return [
        f"{config.model.architecture}, {costs.parameters:,} parameters, {costs.operations / 1e6:.1f} MFLOPs per"
        f" example and step, {config.model.vocab_size:,} tokens, on {devices}",
        f"{sizes[0]:,} training, {sizes[1]:,} validation, {sizes[2]:,} test {task.unit}; batches of {shapes};"
        f" {task.plan.padding:.1%} padding",
        f"programs that compile: 1 of the start, {task.num_programs} of the update, 1 of losses{generation}",
        *([f"attention by {costs.attention}"] if costs.attention else []),
    ]


def operations_of_batch(experiment: Experiment, batch: Batch) -> flops.Operations:
    """Count the operations of the loss of a training step on a batch, and of its gradient."""
    dropout = experiment.hyperparameters.dropout

    def loss(params: Any, batch: Batch, key: Array) -> Array:
        return token_sums(experiment.model, params, batch, key=key, dropout=dropout)[0]

    return flops.operations(jax.grad(loss), experiment.state_shapes.params, batch, jax.random.key(0))
