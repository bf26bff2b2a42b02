"""A new run that starts from the parameters of an earlier one, its origin: in whole, or in part.

    taken    the origin's arrays under the names of `only` (none given: all), but not those under `skip`
    fresh    every other array of the new model: drawn from the seed, as without an origin

An array that is taken must be in both models, in one shape. Parts are the beginnings of names as a checkpoint has them:
encoder, decoder.blocks.self, embedding. Where an array over tokens (V) is taken, ids must mean what they meant, so the
run keeps the origin's tokenizers. The optimizer's state and the step start anew. config.json records the origin; once
the run has a checkpoint, the origin is not read again.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments import settings
from experiments.runs.open_run import open_run
from experiments.storage.retention import steps_in
from experiments.storage.workdir import read_record
from experiments.training.experiment import Experiment, RunData
from experiments.training.optimizers import optimizer
from experiments.training.update import State
from transformer.errors import UserError, counted, nearest, problem

MOST_LISTED = 12
"""Arrays that an error lists."""


class InitFrom(NamedTuple):
    """The wish for an origin.

    Attributes:
        source: WORKDIR or WORKDIR@CHECKPOINT: best (the default), last or a step.
        only: parts that are taken; none: all.
        skip: parts that are not.
        trust_code: consent to run code that the origin's config.json names.
    """

    source: str
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    trust_code: bool = False

    def place(self) -> tuple[Path, str]:
        """Return the working directory and the checkpoint."""
        path, at, checkpoint = self.source.rpartition("@")
        if not at or Path(self.source).is_dir():
            return Path(self.source).absolute(), "best"
        return Path(path).absolute(), checkpoint

    def record(self) -> dict[str, Any]:
        """Return the wish as config.json has it."""
        path, checkpoint = self.place()
        return {"workdir": str(path), "checkpoint": checkpoint, "only": list(self.only), "skip": list(self.skip)}


class Origin(NamedTuple):
    """An origin that was read.

    Attributes:
        wish: what was asked for.
        params: the arrays that are taken, by name.
        over_tokens: names of those with an axis of tokens.
        over_classes: names of those with an axis of labels.
        run: its experiment and parameters, without data.
    """

    wish: InitFrom
    params: dict[str, np.ndarray]
    over_tokens: list[str]
    over_classes: list[str]
    run: Any

    @property
    def record(self) -> dict[str, Any]:
        """The record for config.json: the wish, the step, and the CRC-32 of the arrays that are taken."""
        crc = 0
        for name, array in sorted(self.params.items()):
            crc = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(name.encode(), crc))
        kept = bool(self.over_tokens)
        return {**self.wish.record(), "step": self.run.step, "checksum": crc, "tokenizers_kept": kept}

    def run_data(self, config: Any) -> RunData | None:
        """Return the tokenizers that a run of this config keeps; None where it takes no array over tokens.

        Raises:
            UserError: the config asks for another tokenizer.
        """
        if not self.over_tokens:
            return None
        old, new = (settings.to_json_dict(one) for one in (self.run.experiment.config, config))
        changed = [one for one in settings.differences(old, new) if one[0].startswith("tokenizer.") and one[3]]
        if changed:
            raise problem(
                f"--init_from={self.wish.source} is a run of another tokenizer, whose ids mean other texts",
                got=", ".join(f"{name} {value!r}" for name, _, value, _ in changed),
                expected=", ".join(f"{name} {value!r}" for name, value, _, _ in changed),
                do=f"Take its tokenizer, or start its arrays over tokens fresh: {_skip_flag(self, self.over_tokens)}.",
            )
        return RunData(self.run.experiment.task.tokenizers, {})


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
        wish = InitFrom(place, tuple(recorded["only"]), tuple(recorded["skip"]), trusted)
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
        f"--workdir {workdir} was not started from --init_from={wish.source} as it is given",
        expected=was,
        do="Leave --init_from out to continue this run, or choose another --workdir to start a new one.",
    )


def wish_of(flags: Any) -> InitFrom | None:
    """Return the origin that flags name: init_from, init_only, init_skip, trust_code; raise where one lacks it."""
    if flags.init_from is not None:
        return InitFrom(flags.init_from, flags.init_only, flags.init_skip, flags.trust_code)
    for name in ("init_only", "init_skip", "trust_code"):
        if getattr(flags, name):
            do = "Add --init_from=WORKDIR, or leave it out."
            raise problem(f"--{name} is not read without --init_from", got=getattr(flags, name), do=do)
    return None


def open_origin(wish: InitFrom) -> Origin:
    """Read the run and select its arrays.

    Raises:
        UserError: no run or no such checkpoint there, code without consent, or a part that does not exist.
    """
    path, checkpoint = wish.place()
    if not (path / "config.json").is_file():
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        guess = nearest(path.name, siblings)
        raise problem(
            f"--init_from={wish.source}: {path} " + ("holds no run" if path.is_dir() else "does not exist"),
            expected="the --workdir of a run that was trained, and @best, @last or @STEP behind it",
            do=f"Did you mean {path.with_name(guess)}?" if guess and guess != path.name else None,
        )
    try:
        run = open_run(str(path), checkpoint, read_data=False, trust_code=wish.trust_code)
    except UserError as error:
        raise UserError(f"--init_from={wish.source}: {error}") from error
    named = _named(run.params)
    axes = _named(run.experiment.model.parameter_axes(run.params))
    for part in wish.only:
        _require_part("--init_only", part, named)
    chosen = [name for name in named if not wish.only or _within(name, wish.only)]
    taken = [name for name in chosen if not _within(name, wish.skip)]
    over = {axis: [n for n in taken if axis in (*axes[n].inputs, *axes[n].outputs)] for axis in "VC"}
    return Origin(wish, {name: np.asarray(named[name]) for name in taken}, over["V"], over["C"], run)


def first_states(experiment: Experiment, origin: Origin | None) -> Callable[[Any], State]:
    """Build the function from hyperparameters to the state before the first update, compiled once.

    It has parameters of the origin, and fresh ones where none is taken; without an origin the experiment's own.
    """
    if origin is None:
        return jax.jit(experiment.initial_state)
    config = experiment.config.optimizer

    def start(hyperparameters: Any, taken: Mapping[str, Any]) -> State:
        fresh = experiment.initial_state(hyperparameters)
        params = jax.tree_util.tree_map_with_path(lambda path, x: taken.get(_name(path), x), fresh.params)
        transform = optimizer(config, hyperparameters, experiment.model.parameter_axes(params))
        average = None if fresh.average is None else jax.tree.map(jax.numpy.copy, params)
        return State(fresh.step, params, transform.init(params), average)

    begin, params = jax.jit(start), origin.params
    return lambda hyperparameters: begin(hyperparameters, params)


def check_fit(experiment: Experiment, origin: Origin) -> str:
    """Check that the new model has the arrays of the origin in their shapes; return a line about what starts how.

    Raises:
        UserError: a list of those that it has not, or a part of --init_skip that neither model has.
    """
    wish, new = origin.wish, _named(experiment.state_shapes.params)
    known = {**new, **_named(origin.run.params)}
    for part in wish.skip:
        _require_part("--init_skip", part, known)
    wrong: dict[str, str] = {}
    for name, array in origin.params.items():
        if name in new and new[name].shape != array.shape:
            wrong[name] = f"{array.shape} there, {new[name].shape} in this model"
        elif name not in new and wish.only:
            wrong[name] = f"{array.shape} there, absent in this model"
    expected = [name for name in new if (not wish.only or _within(name, wish.only)) and not _within(name, wish.skip)]
    wrong |= {name: f"absent there, {new[name].shape} in this model" for name in expected if name not in origin.params}
    classes = [one.task.classes for one in (origin.run.experiment, experiment)]
    if classes[0] != classes[1]:
        wrong |= {name: "over other labels" for name in origin.over_classes if name in new and name not in wrong}
    if wrong:
        lines = [f"  {name}: {why}" for name, why in list(wrong.items())[:MOST_LISTED]]
        more = len(wrong) - len(lines)
        raise UserError(
            "\n".join(
                [
                    f"--init_from={wish.source} has no parameters for {counted(len(wrong), 'array')} of this model:",
                    *lines,
                    *([f"  and {more} more"] if more else []),
                    "Give the settings that it was trained with (config.json there), or start these fresh:"
                    f" {_skip_flag(origin, wrong)}",
                ]
            )
        )
    taken = [name for name in origin.params if name in new]
    unused = [name for name in origin.params if name not in new]
    return (
        f"Parameters from {wish.source}, step {origin.run.step}: {len(taken)} of {counted(len(new), 'array')}"
        + (", the tokenizer kept" if origin.over_tokens else "")
        + (f"; fresh: {', '.join(_parts(n for n in new if n not in taken))}" if len(taken) < len(new) else "")
        + (f"; not in this model: {', '.join(_parts(unused))}" if unused else "")
    )


def _skip_flag(origin: Origin, names: Iterable[str]) -> str:
    """Return the flag with which these arrays start fresh, beside those that do already."""
    return "--init_skip=" + ",".join(dict.fromkeys([*origin.wish.skip, *_parts(names)]))


def _parts(names: Iterable[str]) -> list[str]:
    """Return the names without their last part, each once."""
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def _within(name: str, parts: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def _require_part(flag: str, part: str, names: Iterable[str]) -> None:
    """Raise a UserError for a part under which there is no array; it names the nearest part."""
    if any(_within(name, [part]) for name in names):
        return
    parts = dict.fromkeys(".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2))
    ends = {known.rpartition(".")[2]: known for known in parts}
    guess = nearest(part, parts) or ends.get(nearest(part, ends) or "")
    first = dict.fromkeys(name.partition(".")[0] for name in names)
    raise problem(
        f"{flag} names a part that has no parameters",
        got=repr(part),
        expected=f"one of {', '.join(first)}, or a part of one, such as {_parts(names)[0]}",
        do=f"Did you mean {guess}?" if guess else None,
    )


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _named(tree: Any) -> dict[str, Any]:
    """Return the leaves of a nested dict by their names."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: not isinstance(x, Mapping))
    return {_name(path): leaf for path, leaf in leaves}
