"""The lines that describe a run before it starts: the model, the data and the programs that will compile."""

import jax

from experiments.costs import flops
from experiments.training.experiment import Experiment
from experiments.training.update import token_sums

MOST_SHAPES = 6
"""Maximum number of batch shapes whose operations are counted; tracing one takes a fraction of a second."""


def described(experiment: Experiment, parameters: int, devices: str) -> list[str]:
    """Describe the model, the data and the programs that will compile, a line each.

    Args:
        parameters: number of the model's parameters.
        devices: their description.
    """
    config, task = experiment.config, experiment.task
    sizes = [task.training_size, task.size(task.splits.validation), task.size(task.splits.test)]
    shapes = ", ".join(" x ".join(map(str, shape)) for shape in task.plan.shapes)
    generation = ", 2 of generation" if task.generates else ""
    return [
        f"{config.model.architecture}, {parameters:,} parameters, {flops_per_example(experiment) / 1e6:.1f} MFLOPs per"
        f" example and step, {config.model.vocab_size:,} tokens, on {devices}",
        f"{sizes[0]:,} training, {sizes[1]:,} validation, {sizes[2]:,} test {task.unit}; batches of {shapes};"
        f" {task.plan.padding:.1%} padding",
        f"programs that compile: 1 of the start, {task.num_programs} of the update, 1 of losses{generation}",
    ]


def flops_per_example(experiment: Experiment) -> float:
    """Count the operations of matrix products in a training step, per example: a mean over the commonest shapes."""
    parameters = experiment.state_shapes.params
    gradient = jax.grad(lambda params, batch: token_sums(experiment.model, params, batch)[0])
    operations = examples = 0
    commonest = sorted(experiment.task.plan.census.values(), key=lambda census: -census[1])[:MOST_SHAPES]
    for first_step, batches in commonest:
        batch = experiment.task.batches.at(first_step)
        operations += batches * flops.count(gradient, parameters, batch)
        examples += batches * len(batch["labels"])
    return operations / examples
