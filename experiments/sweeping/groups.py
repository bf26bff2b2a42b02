"""Groups of trials that one program trains, and the number of lanes that the memory holds of each.

A trial is one point of a search space with one seed. Trials of a group differ in nothing but `Hyperparameters` and the
order of their data. Data, tokenizers and the model are made once for all trials that have them in common.
"""

import dataclasses
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import settings
from experiments.costs.memory import Memory
from experiments.costs.needed import refuse_too_large
from experiments.data.config import DataConfig
from experiments.runs.init_from import Origin, check_fit
from experiments.sweeping.lanes import Programs, lane_structs, padded
from experiments.sweeping.space import DATA_SEED
from experiments.tasks.config import TaskConfig
from experiments.training.experiment import Experiment, set_up
from experiments.training.hyperparameters import SETTINGS, hyperparameters
from transformer import build, schema
from transformer.errors import UserError, counted, problem

FREE = frozenset({*SETTINGS.values(), DATA_SEED})
"""Settings that do not change the program; where one may be absent, its absence does."""

MOST_SIZES = 16
"""Largest number of sizes whose memory is checked before a sweep starts; one takes a fraction of a second."""

HEADROOM = 0.8
"""Share of the free memory that lanes may take; the rest is for batches, evaluations and fragmentation."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point of the space with a seed, ready to be trained.

    Attributes:
        point: number of the point in its study.
        seed: seed of the trial.
        experiment: everything but the state; trials of a group share the model and mostly the data.
        workdir: its working directory, like that of a single run.
        origin: the run whose parameters it starts from; None: none.
    """

    point: int
    seed: int
    experiment: Experiment
    workdir: Path
    origin: Origin | None = None

    @property
    def name(self) -> str:
        return trial_name(self.point, self.seed)

    def __str__(self) -> str:
        return f"trial {self.point}, seed {self.seed}"


def trial_name(point: int, seed: int | str) -> str:
    """Return the name of a trial's working directory; with "" for the seed, the beginning of those of a point."""
    return f"{point:04d}-seed{seed}"


def program_key(config: Any) -> str:
    """Return a text that is equal for two resolved configs if one program trains both."""
    values = schema.flatten(settings.to_json_dict(config))
    kept = {name: value for name, value in values.items() if name not in FREE}
    absent = sorted(name for name in FREE - {DATA_SEED} if values[name] is None)
    return json.dumps([kept, absent], sort_keys=True)


class Experiments:
    """A cache of `set_up`, called once for all configs that differ in FREE settings and have the same data.

    Args:
        origin: the run whose parameters all trials start from; None: none.
    """

    def __init__(self, origin: Origin | None = None) -> None:
        self.origin = origin
        self._made: dict[tuple[str, int], Experiment] = {}

    def of(self, config: Any) -> Experiment:
        """Return the experiment of a resolved config.

        Raises:
            UserError: the data and the settings do not fit each other, or the model does not fit the origin.
        """
        key = program_key(config), config.data_seed
        if key not in self._made:
            experiment = set_up(config, None if self.origin is None else self.origin.run_data(config))
            if self.origin is not None:
                check_fit(experiment, self.origin)
            self._made[key] = experiment
        made = self._made[key]
        own = {name: operator.attrgetter(name)(config) for name in FREE}
        config = schema.with_values(made.config, own)
        return dataclasses.replace(made, config=config, hyperparameters=hyperparameters(config))


def group_key(experiment: Experiment, *, shared: bool) -> tuple[Any, ...]:
    """Return a key that is equal for trials that train in one program.

    Args:
        shared: whether the program has one batch for all lanes, which then must have one seed of the data. So must
            trials whose batches have several shapes, since the seed decides the order of the shapes.
    """
    shapes = tuple(experiment.task.plan.shapes)
    one_seed = shared or len(shapes) > 1
    return program_key(experiment.config), shapes, experiment.config.data_seed if one_seed else None


def grouped(trials: Sequence[Trial], *, shared: bool) -> list[list[Trial]]:
    """Divide trials into groups, in order of first appearance; for `shared`, see `group_key`."""
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(group_key(trial.experiment, shared=shared), []).append(trial)
    return list(groups.values())


def refuse_large_points(first: Experiment, configs: Mapping[str, Any], lanes: int) -> None:
    """Check that each point of a sweep can fit in memory, from shapes alone, before any is trained.

    Args:
        first: the experiment of one point; the others are taken with its data.
        configs: the resolved config of each point, by its description.
        lanes: number of trials at once.

    Raises:
        UserError: one cannot.
    """
    refuse_too_large(first, lanes=lanes)
    by_size = {_size_key(config): (point, config) for point, config in configs.items()}
    by_size.pop(_size_key(first.config), None)
    for point, config in sorted(by_size.values(), key=lambda one: -_bulk(one[1].model))[:MOST_SIZES]:
        own, known = config.model, first.config.model
        head = first.config.model.class_head.classes
        model = own.with_sizes(own.vocab_size or known.vocab_size, own.max_length or known.max_length, head)
        config = dataclasses.replace(first.config, model=model, optimizer=config.optimizer)
        experiment = dataclasses.replace(first, config=config, model=build(model))
        try:
            refuse_too_large(experiment, lanes=lanes)
        except UserError as error:
            raise UserError(f"in the sweep, at {point}: {error}") from error


def _bulk(model: Any) -> int:
    """Estimate the size of a model, so that the largest of several come first."""
    layers = model.num_layers + (model.num_encoder_layers or 0) + (model.num_decoder_layers or 0)
    heads = model.num_heads * (model.head_width or 0)
    inner = model.feed_forward_width or 4 * model.width
    return model.width * (layers * (model.width + heads + inner) + (model.vocab_size or 0))


def _size_key(config: Any) -> str:
    """Return a text that is equal for two configs whose states have the same shapes."""
    return program_key(dataclasses.replace(config, data=DataConfig(), task=TaskConfig(), seed=0))


def lanes_for(
    programs: Programs, trials: Sequence[Trial], requested: int | None, *, shared: bool, force: bool = False
) -> int:
    """Choose how many trials of a group train at once, and compile the program of that many lanes.

    Args:
        requested: number of lanes by a flag; None: as many as memory holds.
        force: take as many as are requested, and at least one on each device, though they do not fit.

    Raises:
        UserError: so many do not fit, or not even one on each device.
    """
    if not force:
        refuse_too_large(trials[0].experiment, lanes=padded(min(requested or 1, len(trials)), programs.mesh.size))
    mesh, experiment = programs.mesh, trials[0].experiment
    most = min(len(trials), requested or len(trials))
    size = padded(most, mesh.size)
    state = experiment.state_shapes
    batch = experiment.task.batches.at(experiment.largest_batch()[1])
    arguments = (state, np.ones((), bool), batch, experiment.hyperparameters)
    many = [lane_structs(tree, size, mesh) for tree in arguments]
    many[2] = batch if shared else many[2]
    memory, free = programs.memory(*many), programs.free()
    fit = lanes_that_fit(memory, free, size, mesh.size)
    if force:
        return most if requested is not None else min(most, max(fit, mesh.size))
    if fit < (size if requested is not None else mesh.size):
        raise too_many(memory, free, size, fit)
    return min(most, fit)


def lanes_that_fit(memory: Memory | None, free: int | None, lanes: int, devices: int) -> int:
    """Compute how many lanes the free memory holds, if memory grows with them; a multiple of the devices.

    Args:
        memory: of the program with `lanes` lanes on `devices` devices; None, as `free`: not known, so all fit.
    """
    if memory is None or free is None:
        return lanes
    return int(HEADROOM * free / memory.peak * lanes) // devices * devices


def too_many(memory: Memory, free: int, lanes: int, fit: int) -> UserError:
    """Build the error for lanes that do not fit, with the number that does."""
    lower = "Lower --lanes, or leave it out: as many as fit are then taken."
    return problem(
        f"{counted(lanes, 'lane')} do not fit in memory",
        got=f"{memory.peak / 1e9:.2f} GB on each device, {free / 1e9:.2f} GB are free",
        expected=f"at most {counted(fit, 'lane')}" if fit else "more memory: not even one lane for each device fits",
        do=lower if fit else "Lower training.batch_size, or raise training.accumulation.",
    )
