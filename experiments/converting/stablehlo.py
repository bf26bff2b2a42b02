"""A run as StableHLO programs, which `jax.export.deserialize` reads in any process with JAX and without this library.

    forward.stablehlo         (params, batch) -> logits (of a classifier class_logits), hidden
    start.stablehlo           (params, batch) -> the logits of the next token, and the cache; of models with a decoder
    step.stablehlo            (params, token, cache) -> the same
    parameters.safetensors    params: a nested dict, whose names are joined by dots here
    programs.json             names, axes and types of all inputs and outputs; special tokens, labels

    exported = jax.export.deserialize(bytearray(Path("forward.stablehlo").read_bytes()))
    exported.call(params, {"source": ids, "source_lengths": lengths})

Parameters are an argument and not constants of the programs: the three share one copy of them, and so does a checkpoint
of later steps. Each example is computed by itself under `jax.vmap`, so that no program depends on their number, B. The
lengths S and T are symbolic where the model allows it, and fixed otherwise. A cache is what `start` returns: its arrays
begin with B.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from safetensors.numpy import save_file

from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.runs.trained import TrainedExperiment
from experiments.tasks.task import Task
from transformer import Model, build
from transformer.interop.new_directory import new_directory
from transformer.models.batch import ENTRIES
from transformer.nested import name_of, named
from transformer.nn.module_rows import structure
from transformer.nn.positions import POSITIONS

PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms for which each program is compiled when it is called."""

PARAMETERS, RECORD = "parameters.safetensors", "programs.json"

LEVELS = (("B", "S", "T"), ("B",), ())
"""Axes that are symbolic: the first of these that a model allows."""

Program = tuple[Callable[..., Any], tuple[Any, ...], tuple[str, ...]]
"""A function, its arguments as shapes, and their names."""


def write_stablehlo(run: TrainedExperiment, output: str | os.PathLike[str]) -> list[str]:
    """Write the programs of a run and its parameters; return lines about what is fixed.

    Args:
        output: a new directory.

    Raises:
        UserError: a directory that is there.
        OSError: it cannot be written.
    """
    with new_directory(output, "output") as beside:
        found, symbolic = _exported(run)
        record = {
            "format": "jax.export",
            "jax": jax.__version__,
            "platforms": list(PLATFORMS),
            "parameters": PARAMETERS,
            "programs": {name: _described(one, names, f"{name}.stablehlo") for name, (one, names) in found.items()},
            "special_tokens": {name: i for i, name in enumerate(SpecialTokens.special)},
            **({} if run.experiment.task.classes is None else {"classes": list(run.experiment.task.classes)}),
            **({"steps": _steps(run)} if "start" in found else {}),
        }
        for name, (one, _) in found.items():
            (beside / f"{name}.stablehlo").write_bytes(bytes(one.serialize()))
        arrays = {name: np.ascontiguousarray(x) for name, x in named(run.params).items()}
        save_file(arrays, beside / PARAMETERS)
        (beside / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fixed = [axis for axis in LEVELS[0] if axis in _axes(record) and axis not in symbolic]
    return [f"The programs have a fixed size of axis {' and '.join(fixed)}; see {RECORD}"] if fixed else []


def _axes(record: Mapping[str, Any]) -> set[str]:
    """Collect the axes of the batch that programs read."""
    return {axis for one in record["programs"]["forward"]["inputs"] for axis in one.get("axes", "").split()}


def _exported(run: TrainedExperiment) -> tuple[dict[str, tuple[export.Exported, tuple[str, ...]]], tuple[str, ...]]:
    """Export the programs of a run, with as many symbolic axes as its model allows; return these too."""
    model = build(dataclasses.replace(run.experiment.config.model, kernels="plain"))
    for level in LEVELS[:-1]:
        try:
            return _all_programs(run, model, level), level
        except Exception:  # JAX's errors of symbolic axes have no public names; the last attempt raises any other
            continue
    return _all_programs(run, model, LEVELS[-1]), LEVELS[-1]


def _all_programs(
    run: TrainedExperiment, model: Model, symbolic: Sequence[str]
) -> dict[str, tuple[export.Exported, tuple[str, ...]]]:
    """Export the programs of a model with some symbolic axes."""
    task, steps = run.experiment.task, _steps(run)
    params, batch = jax.tree.map(_shape, run.params), _batch(run, symbolic)

    def forward(params: Any, batch: Any) -> Any:
        return jax.tree.map(lambda x: x[0], model.apply(params, jax.tree.map(lambda x: x[None], batch)))

    def start(params: Any, batch: Any) -> Any:
        logits_BV, cache, _ = model.start(params, jax.tree.map(lambda x: x[None], batch), steps=steps)
        return {"logits": logits_BV[0], "cache": cache}

    def step(params: Any, token: Any, cache: Any) -> Any:
        logits_BV, cache, _ = model.step(params, token[None], cache)
        return {"logits": logits_BV[0], "cache": cache}

    names = ("params", "batch")
    found = {"forward": (_export(forward, (params, batch)), names)}
    if task.classes is None and "target" in structure(model.config.architecture).sides:
        first = _export(start, (params, batch))
        cache = jax.tree.unflatten(first.out_tree, list(map(_shape, first.out_avals)))["cache"]
        token = jax.ShapeDtypeStruct(batch["target"].shape[:1], jnp.int32)
        found |= {
            "start": (first, names),
            "step": (_export(step, (params, token, cache)), ("params", "token", "cache")),
        }
    return found


def _export(one: Callable[..., Any], arguments: tuple[Any, ...]) -> export.Exported:
    """Export a function of the parameters and of one example for any number of examples."""
    each = jax.vmap(one, in_axes=(None, *(0 for _ in arguments[1:])))
    return export.export(jax.jit(each), platforms=PLATFORMS)(*arguments)


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _batch(run: TrainedExperiment, symbolic: Sequence[str]) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes of the batch that a run's model reads."""
    task, config = run.experiment.task, run.experiment.config.model
    entries = {name: ENTRIES[name].split() for name in _example(task) if name in ENTRIES}
    used = [axis for axis in LEVELS[0] if any(axis in axes for axes in entries.values())]
    answer = _steps(run) if task.classes is None else 0
    longest = task.max_sequence_length()
    bounds = [f"{axis} >= 1" for axis in used if axis in symbolic]
    if config.max_length is not None and POSITIONS.of(config, "position").is_bounded:
        longest = min(longest, config.max_length)
        most = {"S": config.max_length, "T": max(config.max_length - answer, 1)}
        bounds += [f"{axis} <= {size}" for axis, size in most.items() if axis in used and axis in symbolic]
        longest = min(longest, most["T"] if "T" in used else longest)
    scope = export.SymbolicScope(bounds)
    sizes: dict[str, Any] = {"B": 1, "S": longest, "T": longest}
    sizes |= {axis: export.symbolic_shape(axis, scope=scope)[0] for axis in used if axis in symbolic}
    return {
        name: jax.ShapeDtypeStruct(tuple(sizes[axis] for axis in axes), jnp.int32) for name, axes in entries.items()
    }


def _example(task: Task) -> Mapping[str, Any]:
    """Return a batch of a text as the task puts it to the model."""
    text = task.mask_marker or "a"
    make = task.prompts if task.classes is None else task.questions
    return next(iter(make([text], 1)))


def _steps(run: TrainedExperiment) -> int:
    """Return the most tokens that are decoded."""
    return run.experiment.config.decoding.max_new_tokens or max(run.experiment.task.max_answer_length, 1)


def _described(one: export.Exported, names: Sequence[str], file: str) -> dict[str, Any]:
    """Return the record of a program: its file, its inputs and its outputs."""
    arguments, _ = jax.tree.unflatten(one.in_tree, one.in_avals)
    inputs: list[dict[str, Any]] = [{"name": names[0], "file": PARAMETERS}]
    for name, value in zip(names[1:], arguments[1:], strict=True):
        inputs += _arrays(name, value)
    return {
        "file": file,
        "arguments": list(names),
        "inputs": inputs,
        "outputs": _arrays("", jax.tree.unflatten(one.out_tree, one.out_avals)),
    }


def _arrays(name: str, tree: Any) -> list[dict[str, Any]]:
    """Return the record of each array of a tree: its name, shape, type, and for entries of a batch its axes."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    found = []
    for path, leaf in leaves:
        full = f"{name}.{name_of(path)}".strip(".")
        own = {"name": full, "shape": list(map(_size, leaf.shape)), "dtype": str(leaf.dtype)}
        axes = ENTRIES.get(full.removeprefix("batch.")) if name == "batch" else None
        found.append(own if axes is None else {**own, "axes": axes})
    return found


def _size(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)
