"""A study of a name in a storage: created, joined by another worker, or read alone."""

import time
from typing import Any

import optuna
from optuna.storages import RDBStorage

from experiments.sweeping.attributes import POINT, POINTS, READY, check_study, decoding, refuse_other
from experiments.sweeping.storage import without_password
from experiments.sweeping.study import SAMPLERS, Search, SweepStudy
from transformer.errors import problem

PATIENCE = 30.0
"""Seconds that a worker waits for another one to finish creating the study."""


def open_study(storage: RDBStorage, name: str, search: Search, *, mode: str, properties: dict[str, Any]) -> SweepStudy:
    """Open the study of this name, with more points than it had if the search has more; create it if it does not exist.

    Args:
        mode: "max" or "min", the direction in which scores are better.
        properties: further properties that all workers must share, name -> JSON.

    Raises:
        UserError: a study of this name exists with another space, more points or other properties, or is damaged.
    """
    points = len(search.points)
    shared = {"space": search.space.to_lines(), "sampler": search.sampler, **properties}
    direction = "maximize" if mode == "max" else "minimize"
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    except optuna.exceptions.DuplicatedStudyError:
        with decoding(name, storage):
            study = optuna.load_study(storage=storage, study_name=name)
            for wait in (False, True):
                if wait:
                    _wait_until_ready(study)
                search = _joined(study, search)
                refuse_other(study, {**shared, "sampler": search.sampler})
                if not wait:
                    check_study(study, storage, search.space, points)
            _raise_points(study, name, points)
        return SweepStudy(study, storage, search)
    for key, value in {**shared, POINTS: points}.items():
        study.set_user_attr(key, value)
    for number in range(points) if search.only is None else search.only:
        study.enqueue_trial(search.points[number], user_attrs={POINT: number})
    study.set_user_attr(READY, True)
    return SweepStudy(study, storage, search)


def read_study(storage: RDBStorage, name: str, search: Search, *, properties: dict[str, Any]) -> SweepStudy:
    """Read the study of this name, without a change to it.

    Raises:
        UserError: there is none, it has another space or other properties, or is damaged.
    """
    names = optuna.study.get_all_study_names(storage)
    if name not in names:
        raise problem(
            f"there is no study {name!r} in {without_password(storage.url)}",
            got=f"studies {', '.join(map(repr, names))}" if names else "no study",
            expected="a study with a trial that has ended",
            do="Sweep first: the same command without --finish.",
        )
    with decoding(name, storage):
        study = optuna.load_study(storage=storage, study_name=name)
        search = _joined(study, search)
        refuse_other(study, {"space": search.space.to_lines(), "sampler": search.sampler, **properties})
        check_study(study, storage, search.space, 0)
    return SweepStudy(study, storage, search)


def _wait_until_ready(study: optuna.Study) -> None:
    until = time.monotonic() + PATIENCE
    while not study.user_attrs.get(READY) and time.monotonic() < until:
        time.sleep(0.2)


def _joined(study: optuna.Study, search: Search) -> Search:
    """Return the search by the sampler of a study that exists, unless a flag names one: also of more points."""
    own = study.user_attrs.get("sampler")
    if search.named or own not in SAMPLERS or own == search.sampler:
        return search
    return search._replace(sampler=own, points=[{}] * len(search.points))


def _raise_points(study: optuna.Study, name: str, points: int) -> None:
    """Raise the number of points, of which workers queue the new ones. Raises UserError for fewer than there are."""
    before = study.user_attrs.get(POINTS, points)
    if points < before:
        do = f"Give --trials={before} or more, or choose another --study (or --workdir)."
        what = f"the study {name!r} exists with a larger {POINTS}"
        raise problem(what, got=points, expected=f"{before} or more", do=do)
    if points > before:
        study.set_user_attr(POINTS, points)
