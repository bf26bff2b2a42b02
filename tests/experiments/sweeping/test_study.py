"""Points that many workers share: each is done once, whichever worker ends and whenever."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from experiments.sweeping import study as studies
from experiments.sweeping.attributes import POINT
from experiments.sweeping.grammar import make_space
from experiments.sweeping.open_study import open_study
from experiments.sweeping.ranking import Ranking, best, ranked
from experiments.sweeping.storage import GRACE, close, open_storage, sqlite_url
from experiments.sweeping.study import Search
from experiments.tasks.task import Metric
from tests.fixtures.speeds import more
from tests.fixtures.sweep_records import lane
from transformer.errors import UserError

SPACE = {"optimizer.learning_rate": "log:1e-4:1e-2", "model.num_layers": "1,2", "seed": "0:2"}


OPEN: list = []


@pytest.fixture(autouse=True)
def closed():
    """Close all storages that a test has opened."""
    yield
    while OPEN:
        close(OPEN.pop())


def study_of(url, points=6, sampler="random", name="s", space=None, heartbeat=1, properties=None):
    storage = open_storage(url, heartbeat)
    OPEN.append(storage)
    made = make_space(space or SPACE)
    values = list(made.corners())[:points] if sampler == "grid" else [{}] * points
    return open_study(storage, name, Search(made, sampler, values, 3), mode="max", properties=properties or {})


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'study.db'}"


def postgres_programs():
    """Return the folder of the server's programs, "" where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1].parent) if found else str(Path(shutil.which("initdb") or "").parent)


@pytest.fixture(scope="module")
def postgres():
    """Start a server on loopback; return the URL of a database in it."""
    programs = postgres_programs()
    if programs in ("", "."):
        pytest.skip("no PostgreSQL server is installed (Debian's package `postgresql`)")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # not pytest's own, which the server's user may not enter
    as_user = []
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = folder / "data"

    def run(*words):
        subprocess.run([*as_user, *words], check=True, capture_output=True, text=True)

    run(f"{programs}/initdb", "-D", str(data), "-U", "me", "--auth=trust", "-E", "UTF8")
    port = 20_000 + os.getpid() % 20_000
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(f"{programs}/pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        run(f"{programs}/createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "me", "study")
        yield f"postgresql://me:secret@127.0.0.1:{port}/study"
    finally:
        run(f"{programs}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder)


def work(url, name, points=12, sampler="random"):
    """Work like a worker, without training; return the points that it has recorded."""
    study, recorded = study_of(url, points, sampler, name), []
    while study.left():
        for taken in study.take(2):
            time.sleep(0.01)
            if study.record_result(taken, [lane(0, 1.0)], float(taken.point)):
                recorded.append(taken.point)
        time.sleep(0.01)
    close(study.storage)
    return recorded


def test_every_point_of_a_grid_is_done_once(url):
    study = study_of(url, 4, "grid", space={"model.num_layers": "1,2", "optimizer.name": "adamw,sgd"})
    taken = study.take(10)
    assert [study.space.settings_of(one.values) for one in taken] == [
        {"model.num_layers": layers, "optimizer.name": name} for layers in (1, 2) for name in ("adamw", "sgd")
    ]
    assert study.take(10) == []
    for one in taken:
        assert study.record_result(one, [], 0.5)
    assert study.left() == 0
    assert list(study.results()) == [0, 1, 2, 3]


def test_values_are_a_function_of_the_seed_and_the_point(tmp_path):
    one, other = (study_of(f"sqlite:///{tmp_path / name}.db") for name in "ab")
    first = {one.point: one.values for one in one.take(6)}
    second = {one.point: one.values for most in (1, 3, 2) for one in other.take(most)}
    assert first == second
    assert len({str(values) for values in first.values()}) == 6


@pytest.mark.more
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_workers_that_share_a_study_do_every_point_once(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path / 's.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    with concurrent.futures.ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        recorded = [future.result() for future in [pool.submit(work, url, "shared") for _ in range(3)]]
    assert sorted(point for points in recorded for point in points) == list(range(12))
    study = study_of(url, 12, name="shared")
    assert [trial.values for _, trial in sorted(study.results().items())] == [[float(i)] for i in range(12)]
    assert len(study.trials(TrialState.COMPLETE)) == 12


def silent(url):
    """The workers have without_password no sign of life for longer than the grace period."""
    with contextlib.closing(sqlite3.connect(make_url(url).database)) as database, database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, ?)", (f"-{GRACE + 1} seconds",))


@pytest.mark.parametrize("kind", ["sqlite", more("postgres")])
def test_the_points_of_a_worker_that_ended_are_trained_by_others_and_none_counts_twice(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path / 's.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    stale, other = study_of(url, 4, name="stale"), study_of(url, 4, name="stale")
    lost = stale.take(2)
    assert {claim.point for claim in other.take(4)} == {2, 3}
    assert other.take(4) == []  # it may still be other
    if kind == "sqlite":
        silent(url)
    else:
        time.sleep(GRACE + 1.5)
    again = other.take(4)
    assert [(claim.point, claim.values) for claim in again[:2]] == [(claim.point, claim.values) for claim in lost]
    assert all(other.record_result(claim, [{"by": "other"}], 1.0) for claim in again)
    assert not any(stale.record_result(claim, [{"by": "stale"}], 9.0) for claim in lost)  # it was only slow
    assert [other.results()[point].value for point in (0, 1)] == [1.0, 1.0]


def test_a_worker_that_dies_while_it_takes_a_trial_is_found(url, monkeypatch):
    stale, other = study_of(url, 1), study_of(url, 1)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "_suggested", killed)
    with pytest.raises(KeyboardInterrupt):
        stale.take(1)
    monkeypatch.undo()
    assert other.take(1) == []
    silent(url)
    assert [claim.point for claim in other.take(1)] == [0]


def test_a_worker_that_counts_as_dead_while_it_draws_values_goes_on(url, monkeypatch):
    study, drawn = study_of(url, 2), studies._suggested

    def slow(trial, space):
        monkeypatch.undo()
        number = study.study.get_trials(deepcopy=False)[trial.number]
        study.storage.set_trial_state_values(study.id_of(number), TrialState.FAIL)  # as another worker would
        return drawn(trial, space)

    monkeypatch.setattr(studies, "_suggested", slow)
    assert [one.point for one in study.take(5)] == [1]
    assert [one.point for one in study.take(5)] == [0]


def test_a_worker_that_dies_between_failing_a_trial_and_putting_it_back_loses_nothing(url):
    study = study_of(url, 2)
    for trial in study.trials(TrialState.WAITING):
        study.storage.set_trial_state_values(study.id_of(trial), TrialState.FAIL)
    assert [one.point for one in study.take(5)] == [0, 1]


def test_a_point_that_was_put_back_twice_is_trained_once(url):
    study = study_of(url, 1)
    study.study.enqueue_trial({}, user_attrs={POINT: 0})
    assert [one.point for one in study.take(5)] == [0]
    assert study.take(5) == []


def test_a_point_that_cannot_be_trained_is_not_tried_again(url):
    study = study_of(url, 2)
    first, second = study.take(2)
    study.fail(first, "the score cannot be imported")
    assert study.take(2) == []
    assert study.left() == 1
    study.record_result(second, [], 0.0)
    assert study.left() == 0


def test_the_best_point_is_by_the_direction_and_not_one_that_was_halved(url):
    study = study_of(url, 3)
    ranking = Ranking("exact_match", "loss", Metric("max", "of answers"), "nats")
    for one, score in zip(study.take(3), (0.2, 0.9, 0.8), strict=True):
        status = "halved" if score == 0.9 else "finished"
        study.record_result(one, [lane(0, score, status, 1.0)], score, pruned_at=4 if score == 0.9 else None)
    assert best(ranked(study, ranking)).point == 2


@pytest.mark.parametrize("sampler", ["random", "grid"])
def test_more_points_continue_a_study_for_every_worker(url, sampler):
    space = {"model.num_layers": "1,2,3,4", "seed": "0:2"}
    first = study_of(url, 2, sampler, space=space)
    (done, other) = first.take(2)
    first.record_result(done, [], 0.0)
    more = study_of(url, 4, sampler, space=space)
    assert (first.left(), more.left()) == (3, 3)
    assert first.take(1) == []  # it has no values for the new points until they are queued
    taken = [*more.take(1), *first.take(5)]
    assert sorted(one.point for one in taken) == [2, 3]
    if sampler == "grid":
        values = {one.point: one.values["model.num_layers"] for one in (done, other, *taken)}
        assert len(set(values.values())) == 4
    for one in (other, *taken):
        more.record_result(one, [], 0.0)
    assert first.left() == more.left() == 0


def test_all_points_of_a_finite_space_continue_the_search_that_began_with_some(url):
    space = make_space({"model.num_layers": "1,2,3"})
    study_of(url, 2, "tpe", space={"model.num_layers": "1,2,3"})
    storage = open_storage(url, 1)
    OPEN.append(storage)
    search = Search(space, "grid", list(space.corners()), 3, named=False)
    study = open_study(storage, "s", search, mode="max", properties={})
    assert (study.search.sampler, study.points, len(study.take(3))) == ("tpe", 3, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": {"model.num_layers": "1,3"}}, "the study 's' exists with another space; got model.num_layers=1,3"),
        ({"points": 5}, "exists with a larger number of trials; got 5; expected 6 or more. Give --trials=6"),
        ({"sampler": "tpe"}, "exists with another sampler; got tpe; expected random"),
        ({"properties": {"metric": "loss"}}, "exists with another metric; got loss; expected bleu"),
    ],
)
def test_a_study_of_another_kind_is_refused(url, changed, message):
    study_of(url, properties={"metric": "bleu"})
    with pytest.raises(UserError) as caught:
        study_of(url, **{"properties": {"metric": "bleu"}, **changed})
    assert message in str(caught.value)


def test_a_trial_that_is_taken_again_has_the_values_that_its_point_had(url):
    """A worker that has ended comes back, after another one has queued its point again."""
    lost, other = study_of(url, 1), study_of(url, 1)
    (before,) = lost.take(1)
    lost.give_back(before)
    assert other.left() == 1
    other._queue_again()
    (waiting,) = lost.trials(TrialState.WAITING)
    again = lost.take_waiting(waiting)
    assert again.values == before.values
    assert lost.storage.get_trial(again.trial).params == before.values


@pytest.mark.parametrize("name", ["lr?1", "a%20b", "x?timeout=1", "a b#c", "{x}", "ü&;='"])
def test_a_path_is_where_it_says_whatever_it_means_in_a_url(name, tmp_path):
    path = tmp_path / name / "study.db"
    study = study_of(sqlite_url(path), 1)
    assert sorted(file.name for file in path.parent.iterdir()) == ["study.db", "study.db.lock"]
    assert list(tmp_path.iterdir()) == [path.parent]
    assert study.left() == 1
