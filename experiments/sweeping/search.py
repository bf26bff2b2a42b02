"""A sweep before it runs: a recipe, a space of its settings and the points to be tried, all checked.

Before anything compiles, the space, the points to be tried and the config of each are checked.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments import settings
from experiments.sweeping.grammar import make_space
from experiments.sweeping.space import DATA_SEED, MOST_POINTS, SEED, Point, Space, overrides
from experiments.sweeping.study import Search
from transformer.errors import UserError, problem

MOST_CHECKED = 64
"""Combinations of a space that are checked before anything compiles; of a larger space, this many spread evenly."""

DATA = ("shared", "own")
"""The seed that decides the data of a trial: the recipe's, the same for all; or the trial's own."""


Resolve = Callable[[dict[str, Any], int, Mapping[str, Any] | None], tuple[Any, list[str]]]
"""The function (settings of a point, seed, stored config of the run that goes on) -> as `settings.resolve`."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A recipe and a search over a space of its settings.

    Attributes:
        base: the recipe with its flags, resolved.
        notes: a line for each setting of the recipe that the sweep leaves out, and for --trials beyond the space.
        search: the space, its points and their sampler.
        resolved: the function that resolves a point.
    """

    base: Any
    search: Search
    resolved: Resolve
    notes: tuple[str, ...]

    def resolve(self, values: dict[str, Any], seed: int) -> Any:
        """Return the config of a new trial: that of a point's settings with a seed."""
        return self.resolved(values, seed, None)[0]

    def first(self) -> Any:
        """Return the config of a corner of the space."""
        space = self.search.space
        return self.resolve(space.settings_of(next(space.corners())), space.seeds[0])

    def some(self) -> dict[str, Any]:
        """Return the configs of at most MOST_CHECKED corners of the space, by their settings in words."""
        space = self.search.space
        return {_in_words(values): self.resolve(values, space.seeds[0]) for values in _some_settings(space)}


def make_sweep(
    recipe: ConfigDict,
    given: Sequence[tuple[str, str]],
    varied: Mapping[str, Any],
    *,
    data: str,
    sampler: str | None,
    trials: int | None,
) -> Sweep:
    """Build the sweep of a recipe and flags, and check it.

    Args:
        given: overrides of the recipe, as flags have them.
        varied: the space, as flags or a recipe's get_sweep() have it.
        data: a row of DATA.
        sampler: a row of SAMPLERS or "grid"; None: a grid where the space is finite and tried in full, else tpe.
        trials: number of points; None: all of a finite space.

    Raises:
        UserError: a mistake in the recipe, in the space, or in a config of it.
    """
    base, _ = settings.resolve(recipe, given)
    if any(size != 1 for size in base.mesh.sizes.values()):
        sizes = ", ".join(f"mesh.{name} {size}" for name, size in base.mesh.sizes.items() if size != 1)
        expected, do = "sizes of 1", "Leave the mesh out: a sweep divides its trials among the devices."
        raise problem("a sweep has no mesh", got=sizes, expected=expected, do=do)
    space = make_space(varied, base.seed, type(base))
    if data == "own" and base.data.seed is not None and not any(DATA_SEED in d.names for d in space.dimensions):
        raise problem(
            "--data=own is not read where data.seed is set",
            got=f"data.seed {base.data.seed}",
            do="Give --config.data.seed=none, or leave --data out.",
        )
    resolve = _resolver(recipe, given, base.data_seed if data == "shared" else None)
    notes = _check(space, resolve, {name for name, _ in given})
    named = sampler is not None
    sampler, points = _points(space, sampler, trials)
    if trials is not None and trials > len(points):
        notes.append(f"--trials={trials} is more than the space has: its {len(points)} combinations are all trained.")
    search = Search(space, sampler, points, base.seed, named)
    return Sweep(base, search, resolve, tuple(notes))


def _resolver(recipe: ConfigDict, given: Sequence[tuple[str, str]], data_seed: int | None) -> Resolve:
    """Build the function that resolves a point; a given seed of the data is that of all."""

    def resolve(values: dict[str, Any], seed: int, earlier: Mapping[str, Any] | None) -> tuple[Any, list[str]]:
        more = overrides({**values, SEED: seed})
        if data_seed is not None and DATA_SEED not in values:
            more.append((DATA_SEED, str(data_seed)))
        return settings.resolve(recipe, [*given, *more], earlier)

    return resolve


def _points(space: Space, sampler: str | None, trials: int | None) -> tuple[str, list[Point]]:
    """Choose the sampler, and the values of each point.

    Raises:
        UserError: a space with ranges, or with very many combinations, that is to be tried in full.
    """
    every = list(space.corners()) if space.finite and space.most_corners <= MOST_POINTS else None
    sampler = sampler or ("grid" if every is not None and (trials or len(every)) >= len(every) else "tpe")
    endless = "ranges" if not space.finite else f"up to {space.most_corners:,} combinations"
    if sampler == "grid" and every is None:
        raise problem(f"a space with {endless} has no grid", do="Give lists of fewer values, or another --sampler.")
    if sampler == "grid":
        return sampler, every[:trials]
    if trials is None:
        why = f"the space has {endless}" if every is None else f"--sampler={sampler} draws as many points as it names"
        expected = "a number of combinations of settings"
        raise problem(f"--trials must be given: {why}", got="none", expected=expected, do="Add --trials=20.")
    return sampler, [{}] * trials


def _check(space: Space, resolve: Resolve, given: set[str]) -> list[str]:
    """Check the configs of some corners of the space; return a line for each setting of the recipe left out.

    Raises:
        UserError: a setting that the space varies and a flag fixes, values that exclude each other, or nothing varied.
    """
    if not space.dimensions and len(space.seeds) < 2:
        do = "Add --sweep.SETTING=VALUES, or get_sweep() to the recipe; see --help."
        raise problem("nothing is varied", got="an empty space", expected="one setting or more", do=do)
    for dimension in space.dimensions:
        for name in dimension.names:
            if name in given:
                raise problem(
                    f"{name} is varied by the sweep and fixed by --config.{name}", do="Leave one of them out."
                )
    notes: dict[str, None] = {}
    for values in _some_settings(space):
        try:
            notes |= dict.fromkeys(resolve(values, space.seeds[0], None)[1])
        except UserError as error:
            raise UserError(f"in the sweep, at {_in_words(values)}: {error}") from error
    return list(notes)


def _some_settings(space: Space) -> list[dict[str, Any]]:
    """Return the settings of at most MOST_CHECKED corners, spread evenly."""
    return [space.settings_of(point) for point in space.some_corners(MOST_CHECKED)]


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in overrides(values))
