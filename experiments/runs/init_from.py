"""A new run that starts from the parameters of an earlier one, its origin: in whole, or in part.

    taken    the origin's arrays under the names of `only` (none given: all), but not those under `skip`
    fresh    every other array of the new model: drawn from the seed, as without an origin

An array that is taken must be in both models, in one shape. Parts are the beginnings of names as a checkpoint has them:
encoder, decoder.blocks.self, embedding. Where an array over tokens (V) is taken, ids must mean what they meant, so the
run keeps the origin's tokenizers. The optimizer's state and the step start anew. config.json records the origin; once
the run has a checkpoint, the origin is not read again.

A directory of a checkpoint of Hugging Face is an origin too (`experiments.runs.pretrained`). Its settings of section
`model` stand in place of the recipe's unless `only` names parts, and its heads start fresh where it does not have them
or where they are over other labels.
"""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments import settings
from experiments.cli.recipes import put
from experiments.runs.open_run import open_run
from experiments.runs.origin import InitFrom, Origin, Source, settings_lines
from experiments.runs.parts import parts_of, require_part, within
from experiments.runs.pretrained import is_pretrained, is_repository, settings_taken, source_of
from experiments.storage.retention import steps_in
from experiments.storage.workdir import read_record
from experiments.training.experiment import Experiment
from experiments.training.optimizers import optimizer
from experiments.training.update import State
from transformer import schema
from transformer.errors import UserError, counted, nearest, problem
from transformer.interop import load_pretrained
from transformer.interop.tensors import read_json
from transformer.nested import name_of, named
from transformer.read_by import unread

MOST_LISTED = 12
"""Arrays that an error lists."""

HEADS = ("head", "class_head")
"""Parts of a model that a checkpoint of Hugging Face may lack."""


def wish_of(flags: Any) -> InitFrom | None:
    """Return the origin that flags name: init_from, init_only, init_skip, trust_code; raise where one lacks it."""
    if flags.init_from is not None:
        return InitFrom(flags.init_from, flags.init_only, flags.init_skip, flags.trust_code)
    for name in ("init_only", "init_skip", "trust_code"):
        if getattr(flags, name):
            do = "Add --init_from=WORKDIR, or leave it out."
            raise problem(f"--{name} is not read without --init_from", got=getattr(flags, name), do=do)
    return None


def with_settings(
    recipe: ConfigDict, wish: InitFrom | None, workdir: Path | None = None
) -> tuple[ConfigDict, InitFrom | None]:
    """Return the recipe with the settings of the origin in place of its own, and the wish that names them.

    Args:
        wish: the origin asked for; None: none, or the recorded one.
        workdir: that of the run, whose record is read in place of the origin where it was started before.

    Raises:
        UserError: a checkpoint that cannot be read, or settings that do not fit the recipe's others.
    """
    recorded = None
    if workdir is not None and (workdir / "config.json").exists():
        recorded = read_record(workdir).get("origin")
    if recorded is not None:
        taken = recorded.get("settings", {})
    elif wish is not None and is_pretrained(wish.place()[0]):
        taken = _read_by_recipe(recipe, _named_origin(wish, lambda: settings_taken(wish.place()[0], wish)))
    else:
        return recipe, wish
    recipe = copy.deepcopy(recipe)
    put(recipe, {name: tuple(value) if isinstance(value, list) else value for name, value in taken.items()})
    return recipe, None if wish is None else wish._replace(settings=taken)


def _read_by_recipe(recipe: ConfigDict, taken: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a recipe with them reads: a classifier, for instance, has no head of tokens."""
    merged = copy.deepcopy(recipe)
    put(merged, taken)
    not_read = unread(schema.from_dict(settings.Config, merged.to_dict()))
    return {name: value for name, value in taken.items() if name not in not_read}


def read_origin(workdir: Path, wish: InitFrom | None) -> Origin | None:
    """Read the origin of a run; None where it has none, or has a checkpoint already from which it continues.

    Args:
        workdir: that of the run, new or started before.
        wish: the origin asked for; None: none, or the recorded one.

    Raises:
        UserError: no run or no such checkpoint there, a part that does not exist, or another origin than is recorded.
    """
    recorded = None
    if (workdir / "config.json").exists():
        recorded = read_record(workdir).get("origin")
        _refuse_other_origin(workdir, recorded, wish)
        if recorded is None or steps_in(workdir / "checkpoints"):
            return None
        place = f"{recorded['workdir']}@{recorded['checkpoint']}"
        trusted = wish is not None and wish.trust_code
        parts = (tuple(recorded[name]) for name in ("only", "skip"))
        wish = InitFrom(place, *parts, trusted, recorded.get("settings", {}))
    if wish is None:
        return None
    origin = open_origin(wish)
    if recorded is not None and origin.record != recorded:
        raise problem(
            f"the origin of --workdir {workdir} has changed since the run was started",
            got=f"step {origin.record['step']}, checksum {origin.record['checksum']}",
            expected=f"step {recorded['step']}, checksum {recorded['checksum']}",
            do="Choose another --workdir, or bring the origin's checkpoint back.",
        )
    return origin


def _refuse_other_origin(workdir: Path, recorded: Mapping[str, Any] | None, wish: InitFrom | None) -> None:
    """Raise a UserError where a run was started otherwise than it is asked for."""
    if wish is None or (recorded is not None and wish.record().items() <= recorded.items()):
        return
    was = "no other run"
    if recorded is not None:
        parts = "".join(f", --init_{name}={','.join(recorded[name])}" for name in ("only", "skip") if recorded[name])
        was = f"--init_from={recorded['workdir']}@{recorded['checkpoint']}{parts}"
    raise problem(
        f"--workdir {workdir} was not started from {wish} as it is given",
        expected=was,
        do="Leave --init_from out to continue this run, or choose another --workdir to start a new one.",
    )


def open_origin(wish: InitFrom) -> Origin:
    """Read the checkpoint and select its arrays.

    Raises:
        UserError: no run or no such checkpoint there, code without consent, or a part that does not exist.
    """
    path, checkpoint = wish.place()
    if is_pretrained(path):
        source = _named_origin(wish, lambda: _pretrained(path, checkpoint))
    elif (path / "config.json").is_file():
        source = _named_origin(wish, lambda: _run(path, wish, checkpoint))
    else:
        raise _no_origin(wish, path)
    for part in wish.only:
        require_part("--init_only", part, source.params)
    return Origin(wish, source, {name: array for name, array in source.params.items() if wish.takes(name)})


def _run(path: Path, wish: InitFrom, checkpoint: str) -> Source:
    """Read a run, without its data."""
    run = open_run(str(path), checkpoint, read_data=False, trust_code=wish.trust_code)
    task, axes = run.experiment.task, named(run.experiment.model.parameter_axes(run.params))
    params = {name: np.asarray(array) for name, array in named(run.params).items()}
    tokenizer = settings.to_json_dict(run.experiment.config)["tokenizer"]
    return Source(params, axes, run.step, task.tokenizers, tokenizer, task.classes)


def _pretrained(path: Path, checkpoint: str) -> Source:
    """Read a checkpoint of Hugging Face, which is the only one of its directory."""
    if checkpoint != "best":
        raise problem(f"{path} is one checkpoint, of Hugging Face", got=f"@{checkpoint}", do="Leave it out.")
    return source_of(path, read_json(path / "config.json")["model_type"])


def _named_origin(wish: InitFrom, read: Callable[[], Any]) -> Any:
    """Return the result of a function; its errors name the flag."""
    try:
        return read()
    except UserError as error:
        raise UserError(f"{wish}: {error}") from error


def _no_origin(wish: InitFrom, path: Path) -> UserError:
    """Build the error of a place that holds nothing to start from."""
    siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    guess = nearest(path.name, siblings)
    do = f"Did you mean {path.with_name(guess)}?" if guess and guess != path.name else None
    if do is None and not path.exists() and is_repository(wish.source):
        do = _how_to_download(wish.source)
    return problem(
        f"{wish}: {path} " + ("holds no run" if path.is_dir() else "does not exist"),
        expected="the --workdir of a run that was trained, and @best, @last or @STEP behind it, or the directory of a"
        " checkpoint of Hugging Face",
        do=do,
    )


def _how_to_download(name: str) -> str | None:
    """Return the advice of `load_pretrained` about a name that is no directory."""
    try:
        load_pretrained(name)
    except UserError as error:
        return "".join(str(error).partition("To download")[1:])
    return None


def first_states(experiment: Experiment, origin: Origin | None) -> Callable[[Any], State]:
    """Build the function from hyperparameters to the state before the first update, compiled once.

    It has parameters of the origin, and fresh ones where none is taken; without an origin the experiment's own.
    """
    shardings = experiment.state_shardings
    if origin is None:
        return jax.jit(experiment.initial_state, out_shardings=shardings)
    config = experiment.config.optimizer

    def start(hyperparameters: Any, taken: Mapping[str, Any]) -> State:
        fresh = experiment.initial_state(hyperparameters)
        params = jax.tree_util.tree_map_with_path(lambda path, x: taken.get(name_of(path), x), fresh.params)
        transform = optimizer(config, hyperparameters, experiment.model.parameter_axes(params))
        average = None if fresh.average is None else jax.tree.map(jax.numpy.copy, params)
        return State(fresh.step, params, transform.init(params), average)

    begin, params = jax.jit(start, out_shardings=shardings), origin.taken(experiment)
    return lambda hyperparameters: begin(hyperparameters, params)


def check_fit(experiment: Experiment, origin: Origin) -> str:
    """Check that the new model has the arrays of the origin in their shapes; return lines about what starts how.

    Raises:
        UserError: a list of those that it has not, or a part of --init_skip that neither model has.
    """
    wish, source, new = origin.wish, origin.source, named(experiment.state_shapes.params)
    found = origin.taken(experiment)
    for part in wish.skip:
        require_part("--init_skip", part, {**new, **source.params})
    wrong: dict[str, str] = {}
    for name, array in found.items():
        if name in new and new[name].shape != array.shape:
            wrong[name] = f"{array.shape} there, {new[name].shape} in this model"
        elif name not in new and wish.only:
            wrong[name] = f"{array.shape} there, absent in this model"
    may_lack = HEADS if source.family is not None and not wish.only else ()
    for name in new:
        if wish.takes(name) and name not in found and not within(name, may_lack):
            labels = name in origin.params
            wrong[name] = "over other labels" if labels else f"absent there, {new[name].shape} in this model"
    if not origin.same_labels(experiment):
        others = [name for name in origin.over("C") if name in new and name in found]
        wrong |= {name: "over other labels" for name in others if name not in wrong}
    if wrong:
        lines = [f"  {name}: {why}" for name, why in list(wrong.items())[:MOST_LISTED]]
        more = len(wrong) - len(lines)
        raise UserError(
            "\n".join(
                [
                    f"{wish} has no parameters for {counted(len(wrong), 'array')} of this model:",
                    *lines,
                    *([f"  and {more} more"] if more else []),
                    f"Give the settings that it was trained with (config.json there){origin.or_fresh(wrong)}",
                ]
            )
        )
    taken = [name for name in found if name in new]
    unused = [name for name in found if name not in new]
    line = (
        f"Parameters from {wish.source}, step {source.step}: {len(taken)} of {counted(len(new), 'array')}"
        + (", the tokenizer kept" if origin.over("V") else "")
        + (f"; fresh: {', '.join(parts_of(n for n in new if n not in taken))}" if len(taken) < len(new) else "")
        + (f"; not in this model: {', '.join(parts_of(unused))}" if unused else "")
    )
    return "\n".join([line, *settings_lines(experiment.config, origin)])
