"""Memory that a run needs at least, from shapes alone: nothing is computed, compiled or written.

    update      state + gradients + activations of a batch
    evaluation  state + logits of a batch
    answers     state + a copy of the decoder's parameters (`decoding.layout`) + the cache

Of the activations, what no compiler leaves out is counted: the logits, and what the backward pass needs of each layer
(with model.remat, its input alone): queries, keys, values, the weights of plain attention, the hidden feed-forward; of
a mixer of another kind those of them that it records. The compiled program's own plan (`memory`) is larger.
"""

import math
from typing import Any

import jax

from experiments.costs.memory import available, bytes_of, bytes_per_device
from experiments.data.machine import size, too_large
from experiments.training.evaluation import rows_of_evaluation
from experiments.training.experiment import Experiment
from transformer import ModelConfig
from transformer.decoding import Beam, DecodingConfig
from transformer.decoding.layout import stepped_stack
from transformer.nn.mixers import MIXERS
from transformer.nn.module_rows import family, structure
from transformer.ops.kernels import MOST_KEPT

FORCE = "--force goes on all the same."

KEPT = ("query", "key", "value", "head", "weights")
"""Activations of a mixer that the backward pass needs."""

Parts = dict[str, int]
"""Part -> bytes."""


def state_memory(state: Any) -> Parts:
    """Compute the memory of each part of a state (arrays, or their shapes); on a mesh, of one device."""
    named = {"parameters": state.params, "optimizer state": state.optimizer, "averaged parameters": state.average}
    return {name: bytes_per_device(tree) for name, tree in named.items()}


def update_memory(experiment: Experiment) -> Parts:
    """Compute the memory that an update needs at least, by part; on a mesh, of one device."""
    state = state_memory(experiment.state_shapes)
    (examples, *lengths), _ = experiment.largest_batch()
    rows = max(examples // experiment.config.training.accumulation, 1)
    model = experiment.config.model
    activations = _logits(experiment, rows, lengths[-1]) + _layers(model, rows, lengths, kept=True)
    return {**state, "gradients": state["parameters"], "activations": activations // devices_of(experiment)}


def evaluation_memory(experiment: Experiment) -> Parts:
    """Compute the memory that an evaluation of losses needs at least, by part; on a mesh, of one device."""
    task, model = experiment.task, experiment.config.model
    longest = task.max_sequence_length()
    rows = rows_of_evaluation(model, longest, task.classes is not None)
    activations = _logits(experiment, rows, longest) + _layers(model, rows, [longest], kept=False)
    return {
        "parameters": bytes_per_device(experiment.state_shapes.params),
        "activations": activations // _parts_of_examples(experiment),
    }


def answers_memory(experiment: Experiment, steps: int, texts: int, beams: int = 1) -> Parts:
    """Compute the memory that answers of `steps` tokens to so many texts need at least, by part.

    On a mesh it is that of one device.

    Args:
        beams: number of beginnings of each answer that are continued side by side.
    """
    task, model = experiment.task, experiment.config.model
    rows = min(rows_of_evaluation(model, task.max_sequence_length(steps), task.classes is not None), texts) * beams
    cache = 0
    if (like := family(model.architecture)) in ("decoder_only", "seq2seq"):
        layers = model.num_decoder_layers if like == "seq2seq" else model.num_layers
        mixer = MIXERS.of(model, "mixer")
        cache = layers * bytes_of(jax.eval_shape(lambda: mixer.cache(model.as_settings, rows, steps)))
    params = experiment.state_shapes.params
    stack = stepped_stack(experiment.model)
    copied = [] if stack is None else [params[stack]["blocks"], params.get("head", {})]
    return {
        "parameters": bytes_per_device([params, copied]),
        "cache and tokens": (cache + 4 * rows * steps) // _parts_of_examples(experiment),
    }


def refuse_too_large(experiment: Experiment, *, lanes: int = 1) -> None:
    """Check that updates, evaluations and answers of an experiment can fit in the memory of the device.

    Args:
        lanes: number of trials at once; accelerators divide them, the cores of a CPU share its memory.

    Raises:
        UserError: they cannot.
    """
    device, count = jax.local_devices()[0], jax.local_device_count()
    free = available(device)
    if free is None:
        return
    sharing = _sharing(experiment)
    parts = {name: needed * sharing for name, needed in update_memory(experiment).items()}
    if lanes > 1:
        parts = lanes_memory(parts, *((lanes, count) if device.platform == "cpu" else (math.ceil(lanes / count), 1)))
    if sum(parts.values()) > free:
        what = "this run" if lanes == 1 else f"a program of {lanes:,} trials"
        do = what_to_lower(parts) if lanes == 1 else "Lower --lanes, or the size of the model."
        listed = ", ".join(f"{name} {size(needed)}" for name, needed in parts.items() if needed)
        raise too_large(f"{what} ({listed})", sum(parts.values()), free, f"{do} {FORCE}")
    needed = sum(evaluation_memory(experiment).values()) * sharing
    if needed > free:
        raise too_large("an evaluation", needed, free, f"Lower model.width or the length of sequences. {FORCE}")
    if experiment.task.generates:
        refuse_answers(experiment, experiment.config.decoding, len(experiment.task.splits.validation), f" {FORCE}")


def devices_of(experiment: Experiment) -> int:
    """Return the number of devices of an experiment's mesh, 1 without one."""
    return 1 if experiment.placement is None else experiment.placement.mesh.size


def _parts_of_examples(experiment: Experiment) -> int:
    """Return the number of parts of which the devices of an experiment's mesh have one, 1 without a mesh."""
    return 1 if experiment.placement is None else experiment.placement.examples


def _sharing(experiment: Experiment) -> int:
    """Return the number of devices of this process that share one memory: on a CPU all of a mesh."""
    if jax.local_devices()[0].platform != "cpu" or experiment.placement is None:
        return 1
    return len(experiment.placement.mesh.local_devices)


def lanes_memory(parts: Parts, lanes: int, computed: int) -> Parts:
    """Compute the memory of so many lanes, of which at least `computed` are computed at the same time."""
    passing = ("gradients", "activations")
    return {name: (min(computed, lanes) if name in passing else lanes) * needed for name, needed in parts.items()}


def refuse_answers(experiment: Experiment, decoding: DecodingConfig, texts: int, more: str = "") -> None:
    """Check that answers to so many texts can fit in the memory.

    Args:
        more: what else the error advises.

    Raises:
        UserError: they cannot.
    """
    free, task = available(jax.local_devices()[0]), experiment.task
    if free is None or task.classes is not None:
        return
    steps, strategy = decoding.max_new_tokens or task.max_answer_length, decoding.chosen()
    beams = strategy.width if isinstance(strategy, Beam) else 1
    needed = sum(answers_memory(experiment, steps, texts, beams).values()) * _sharing(experiment)
    if needed > free:
        do = f"Lower decoding.max_new_tokens (of generate: --max_new_tokens), or the width of a beam.{more}"
        raise too_large(f"an answer of {steps:,} tokens", needed, free, do)


def refuse_state(experiment: Experiment) -> None:
    """Check that the state of an experiment can fit in the memory of the device.

    Raises:
        UserError: it cannot.
    """
    free, needed = available(jax.local_devices()[0]), bytes_of(experiment.state_shapes)
    if free is not None and needed > free:
        raise too_large("the model", needed, free, "Free some memory, or take a larger machine.")


def what_to_lower(parts: Parts) -> str:
    """Return what to do where an update does not fit."""
    if 2 * parts["activations"] > sum(parts.values()):
        return "Lower training.batch_size, raise training.accumulation, or set model.remat=true."
    return "Lower model.width or model.num_layers, or take an optimizer with a smaller state (adafactor, lion)."


def _logits(experiment: Experiment, rows: int, length: int) -> int:
    """Compute the bytes of the logits: one row for each position, or one for each example of a classifier."""
    model = experiment.config.model
    outputs = length * model.vocab_size if experiment.task.classes is None else model.class_head.classes
    return rows * outputs * model.compute_dtype.itemsize


def _layers(model: ModelConfig, rows: int, lengths: list[int], *, kept: bool) -> int:
    """Compute the bytes of what the layers compute for `rows` examples.

    Args:
        lengths: of the source and of the target, or of the one sequence.
        kept: True where the backward pass needs it of every layer; False: of the largest layer alone.
    """
    own = structure(model.architecture)
    depths = [getattr(model, count) for count in own.stacks.values()]
    stacks = list(zip(depths, (lengths[0], lengths[-1]), strict=False))
    inside = [(0, 0) if own.recurrent else numbers_of_layer(model, length) for _, length in stacks]
    every = kept and not model.remat
    states = sum(depth * length * model.width for depth, length in stacks) if kept else 0
    parts = (
        sum(depth * sum(part) for depth, part in zip(depths, inside, strict=True)) if every else max(map(max, inside))
    )
    return rows * (states + parts) * model.compute_dtype.itemsize


def numbers_of_layer(model: ModelConfig, length: int) -> tuple[int, int]:
    """Count the numbers that one layer computes for an example: of its mixer, and of the feed-forward."""
    mixed = 0
    if model.self_attention:
        sizes = {"T": length, "S": length, "N": model.num_heads, "K": model.num_kv_heads, "H": model.head_width}
        sites = MIXERS.of(model, "mixer").sites
        kept = [name for name in KEPT if name in sites and (name != "weights" or keeps_weights(model, length))]
        mixed = sum(math.prod(sizes.get(letter, 1) for letter in sites[name].split()) for name in kept)
    return mixed, length * (model.feed_forward_width or 0)


def keeps_weights(model: ModelConfig, length: int) -> bool:
    """Return whether attention keeps its weights for the backward pass; fast forms do not where they are many."""
    few = model.num_heads * length**2 <= MOST_KEPT
    return {"plain": True, "blocks": True, "chunks": False, "cudnn": False}.get(model.kernels, few)
