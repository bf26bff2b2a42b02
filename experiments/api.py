"""The commands as functions: train, open, predict, evaluate, capture, sweep, compare and convert from Python.

    from experiments import api

    run = api.train("dates", {"model.num_layers": 3, "training.steps": 500}, workdir="runs/x")
    run = api.open_run("runs/x")
    run.predict(["3 March 2024"])[0].text

A recipe is a path, the bare name of one of the project's, a ConfigDict, a `Config`, or a dict of settings, nested or
with dotted names; overrides are such a dict. Mistakes raise `UserError`. Progress is shown on standard error, or as a
line in a notebook, and `progress=False` switches it off; remarks are Python's warnings, and nothing else is printed.
Compiled programs are kept on disk, as the commands keep them.

Ctrl-C and SIGTERM are caught in the main thread alone, while a function trains: it stops after the step, saves, and
gives the signal back to the program, so that Ctrl-C raises KeyboardInterrupt. The same call continues the run.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CLASSES = {
    "Activation": "experiments.runs.capturing",
    "Answer": "experiments.runs.generation",
    "Comparison": "experiments.comparing.python",
    "Config": "experiments.settings",
    "Fit": "experiments.runs.fit",
    "Judgement": "experiments.comparing.python",
    "Label": "experiments.runs.generation",
    "NotFiniteError": "experiments.training.loop",
    "Run": "experiments.runs.run",
    "Sweep": "experiments.sweeping.python",
    "UserError": "transformer.errors",
    "Value": "experiments.comparing.statistics",
    "convert": "experiments.converting.formats",
    "linear": "experiments.sweeping.space",
    "log": "experiments.sweeping.space",
}
"""Classes of arguments, results and errors, ranges of a space, `convert` -> their modules, imported on use."""


def __getattr__(name: str) -> Any:
    """Return a class, a kind of range or `convert` by its name here."""
    if name not in CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(CLASSES[name]), name)


def __dir__() -> list[str]:
    return sorted([*CLASSES, *(name for name in globals() if not name.startswith("_"))])


def register(axis: str, name: str, row: Any) -> None:
    """Give a row from outside a name, by which configs and flags of this process find it.

    Args:
        axis: its table: of a model's parts as `transformer.register` has them, or "optimizer", "schedule", "metric",
            "source", "file_format", "tokenizer", "task", "objective".
        name: letters, digits and _.
        row: a row of that table, or what it makes a row from, such as a function.

    Raises:
        UserError: an unknown axis, a name that is taken by another row, or an object that is no such row.

    >>> api.register("schedule", "half", lambda at: 0.5 + 0 * at.step)  # doctest: +SKIP
    """
    importlib.import_module("experiments.settings")  # every table
    tables = importlib.import_module("transformer.tables")
    tables.register(axis, name, row, module=sys._getframe(1).f_globals.get("__name__", "__main__"))


def train(
    recipe: Any,
    overrides: Mapping[str, Any] | None = None,
    *,
    workdir: str | os.PathLike,
    progress: bool = True,
    force: bool = False,
    init_from: str | os.PathLike | None = None,
    init_only: Sequence[str] = (),
    init_skip: Sequence[str] = (),
    trust_code: bool = False,
) -> "Run":
    """Train a model, or continue its training in the same working directory; a finished run is opened.

    Args:
        recipe: what to train; see the module.
        overrides: settings in place of the recipe's, full name -> value; None unsets one.
        workdir: folder for checkpoints, metrics and config, as the command writes them.
        progress: whether to show progress.
        force: train though the memory is too small for what the run needs.
        init_from: run whose parameters a new run starts from: its folder, or "FOLDER@best", "@last" or "@STEP"; or the
            directory of a checkpoint of Hugging Face, whose settings of the model take the place of the recipe's.
        init_only: parts of the parameters that are taken from it, such as ["encoder"]; none: all.
        init_skip: parts that start fresh all the same.
        trust_code: consent to run code that the config.json of `init_from` names.

    Returns:
        The run with the parameters of the last step; `open_run` reads the best ones.

    Raises:
        UserError: a mistake in the recipe, a setting, the data or the working directory.
        NotFiniteError: the loss or the gradient is not finite; what was saved before stays.
        OSError: a full or read-only disk.
        KeyboardInterrupt: Ctrl-C, after the step is saved.

    >>> run = api.train("dates", {"training.steps": 100}, workdir="runs/x")  # doctest: +SKIP
    """
    from experiments.runs.python import train_run

    return train_run(
        recipe,
        overrides,
        workdir,
        progress=progress,
        force=force,
        init_from=init_from,
        init_only=init_only,
        init_skip=init_skip,
        trust_code=trust_code,
    )


def open_run(
    workdir: str | os.PathLike,
    checkpoint: str | int | None = None,
    *,
    average_last: int | None = None,
    read_data: bool = True,
    trust_code: bool = False,
    paths: Mapping[str, Any] | None = None,
) -> "Run":
    """Open a run from its working directory, while it trains or after.

    Args:
        workdir: that of the training.
        checkpoint: "best", "last" or a step; None: the mean of `average_last` checkpoints, or the best one.
        average_last: number of last checkpoints to average; None: by the run's settings.
        read_data: False where texts are answered and no split is needed: the files of the data may be gone.
        trust_code: consent to run code that the run's config.json names.
        paths: new places of data that has moved: {"data.path": PATH}.

    Raises:
        UserError: no run there, code without consent, no such checkpoint, or data that has changed.

    >>> run = api.open_run("runs/x", checkpoint="last")  # doctest: +SKIP
    """
    from experiments.runs.python import open_run_of

    return open_run_of(
        workdir,
        checkpoint,
        average_last=average_last,
        read_data=read_data,
        trust_code=trust_code,
        paths=paths or {},
    )


def fit(
    model: Any,
    batches: Any,
    *,
    steps: int,
    optimizer: Any = "adamw",
    loss: Callable[..., Any] | None = None,
    params: Any = None,
    validation: Any = None,
    batch_size: int = 64,
    evaluate_every: int | None = None,
    seed: int = 0,
    workdir: str | os.PathLike | None = None,
    progress: bool = True,
) -> "Fit":
    """Fit a model to arrays or batches of your own, by the update and the loop of all trainings.

    Args:
        model: of `transformer.build`.
        batches: a dict of arrays with I examples each, of which `batch_size` are drawn a step; or batches: a list,
            an iterable, or a function of the step, counted from 0. A batch is a dict of arrays: for the model
            `source` (B S) and `target` (B T) with their lengths, and for the loss `labels` (B T, or B of a
            classifier) and `loss_weights`, by default 1 within the length.
        steps: number of updates.
        optimizer: a name, a dict of settings, an `OptimizerConfig`, or an optax transformation, with its own rate.
        loss: (params, batch, key) -> a scalar, or a scalar and a dict of further ones; None: the cross-entropy of the
            labels in nats per token. `key` is for dropout, None in evaluations.
        params: the parameters to start from; None: drawn from `seed`.
        validation: held-out batches in the same form; the loss on them selects the best checkpoint.
        batch_size: examples a step, where `batches` is a dict of arrays.
        evaluate_every: steps between evaluations; None: a tenth of all.
        seed: seed of parameters, order and dropout.
        workdir: folder for checkpoints and metrics, from which the same call continues; None: nothing is written.
        progress: whether to show progress.

    Returns:
        Fit: `params`, `step` and `metrics`.

    Raises:
        UserError: what is not as described, or a working directory of another fit.
        NotFiniteError, KeyboardInterrupt: as for `train`.

    >>> fit = api.fit(model, {"target": x, "labels": y}, steps=1000, optimizer={"name": "lion"})  # doctest: +SKIP
    """
    from experiments.runs import fit as fits

    return fits.fit(
        model,
        batches,
        optimizer,
        params=params,
        workdir=workdir,
        progress=progress,
        steps=steps,
        loss=loss,
        validation=validation,
        batch_size=batch_size,
        seed=seed,
        evaluate_every=evaluate_every,
    )


def sweep(
    recipe: Any,
    space: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    workdir: str | os.PathLike,
    progress: bool = True,
    **options: Any,
) -> "Sweep":
    """Train a model with many settings, many trials in one program; the same call continues.

    Args:
        recipe: what to train; see the module.
        space: setting -> a list of values, a range, `api.log(low, high)` or `api.linear(low, high)`; "seed" trains
            every combination with each seed; names and values may be zipped and conditional as in `--sweep`. None:
            the recipe's `get_sweep()`, which it otherwise adds to.
        overrides: settings of all trials, full name -> value.
        workdir: folder for the trials, their results and the study.
        progress: whether to show progress.
        **options: trials (number of combinations), sampler, lanes, mode, data, halvings, margin, reference, decide,
            max_seeds, keep, storage, study, heartbeat, devices, force, init_from, init_only, init_skip, trust_code: as
            the flags of `experiments.sweep`.

    Returns:
        Sweep: `table()`, `best()`, `finish(steps)`, `results`; with a margin also `decisions()`.

    Raises:
        UserError: a mistake in the recipe, the space, or an option.
        OSError, KeyboardInterrupt: as for `train`.

    >>> api.sweep("dates", {"optimizer.learning_rate": api.log(1e-4, 1e-2)}, trials=16, workdir="x")  # doctest: +SKIP
    """
    from experiments.sweeping.python import run_sweep

    return run_sweep(recipe, space, overrides, workdir, progress=progress, options=options)


def compare(runs: Sequence[Any], metric: str | None = None, *, against: Sequence[Any] = ()) -> "Comparison":
    """Compare runs: the settings that differ, their last scores, and means over the runs that differ in seed alone.

    Args:
        runs: two or more runs, sweeps, or their working directories.
        metric: the metric that the comparison shows, and that decides; None: all, and the one that selects checkpoints.
        against: the runs of B, which `decide(margin=...)` decides `runs` (A) against, seed by seed.

    Returns:
        Comparison: `table()`, `settings`, `groups`, `results`; with `against` also `decide(margin=0.02)`.

    Raises:
        UserError: fewer than two runs, one without an evaluation, or runs that share no metric.

    >>> api.compare([run_a, run_b], metric="loss").table()  # doctest: +SKIP
    """
    from experiments.comparing.python import compare as compare_runs

    return compare_runs(runs, metric, against)


def describe(section: str | None = None) -> str:
    """Describe the sections of the config; or every setting of one: meaning, type, default, allowed values.

    Raises:
        UserError: an unknown section.

    >>> print(api.describe("optimizer"))  # doctest: +SKIP
    """
    from experiments import settings
    from experiments.cli.python_words import in_python

    return in_python(settings.help_text)(section)
