"""Where a study lies: a database that many workers share, by Optuna. SQLite by default, PostgreSQL by URL.

A worker that dies is found by its heartbeat, which only databases keep: Optuna's journal files have none. In SQLite a
transaction locks only once it writes, so two workers could read one trial as free and both take it; every transaction
here locks when it begins.
"""

import contextlib
import fcntl
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, make_url

from experiments.training.signals import StopRequest
from transformer.errors import UserError, problem

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
"""Kind of database -> the driver that is used."""

GRACE = 4
"""Heartbeats that a worker may miss before its trials are given to others."""

WAIT = 60
"""Seconds that SQLite waits for another worker's transaction."""

CONNECTING = {"connect_timeout": 10}
"""Seconds that a server has to answer."""

LOCK = 6_710_886
"""The number of the lock that PostgreSQL keeps for those that make Optuna's tables; any other would do."""

LOST = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)
"""What Optuna raises when the database cannot be reached."""


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """The storage at a URL; its tables are made if they are not there.

    Args:
        heartbeat: seconds between signs of life of a worker; after GRACE times as many it is taken for dead.

    Raises:
        UserError: no database that has heartbeats, or one that cannot be reached; says what was tried.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = _parsed(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    arguments = {"timeout": WAIT} if sqlite else CONNECTING
    try:
        with _one_at_a_time(parsed), _quietly():
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs={"connect_args": arguments, **({} if sqlite else {"pool_pre_ping": True})},
                heartbeat_interval=heartbeat,
                grace_period=GRACE * heartbeat,
            )
    except (*LOST, OSError, ImportError) as error:
        raise problem(
            f"the storage cannot be reached: {_reason(error)}",
            got=f"tried {shown(url)}",
            do="Is the server running, is the name right, may you write there? Choose another --storage if not.",
        ) from error
    if sqlite:
        _lock_at_begin(storage.engine)
    return storage


def close(storage: RDBStorage) -> None:
    """Gives the connections back."""
    storage.remove_session()
    storage.engine.dispose()


def shown(url: str) -> str:
    """A URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def lost(error: Exception, url: str, safe: str) -> UserError:
    """The error of a database that went away in the middle.

    Args:
        safe: what is kept, in words.
    """
    return problem(
        f"the storage was lost: {_reason(error)}",
        got=shown(url),
        do=f"{safe} The same command goes on once the storage is back.",
    )


def quiet_stale(study: optuna.Study) -> None:
    """Marks the trials of workers that have shown no sign of life as failed."""
    with _quietly():
        optuna.storages.fail_stale_trials(study)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise _no_database(url) from error
    backend = parsed.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise _no_database(url)
    return parsed if "+" in parsed.drivername else parsed.set(drivername=DRIVERS[backend])


def _no_database(url: str) -> UserError:
    journal = "journal" in url or url.endswith(".log")
    why = ": a journal file keeps no heartbeat, so workers that were killed could not be found" if journal else ""
    return problem(
        f"--storage is no database that a study can lie in{why}",
        got=url.partition("@")[2] or url,
        expected="sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    )


@contextlib.contextmanager
def _one_at_a_time(url: URL) -> Iterator[None]:
    """While one worker makes the tables, the others wait: by a lock of the server, or on a file beside SQLite's."""
    if url.get_backend_name() != "sqlite":
        engine = sqlalchemy.create_engine(url, connect_args=CONNECTING, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:  # which gives the lock back when it is closed
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK})")
            yield
        return
    if url.database in (None, "", ":memory:"):
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Heartbeats are marked as experimental by Optuna; users of a sweep cannot do anything about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _lock_at_begin(engine: sqlalchemy.Engine) -> None:
    """Makes every transaction of SQLite begin with the lock for writing."""
    engine.dispose()  # connections from before have no listeners

    @sqlalchemy.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: BaseException) -> str:
    """The innermost error in one line: that of the driver."""
    while error.__cause__ is not None:
        error = error.__cause__
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    return said[0] if said else type(error).__name__


class Heartbeat:
    """A thread that records a sign of life for each trial in `held`, every so many seconds.

    Once it has failed to for as long as makes others take this worker for dead, it asks the training to stop, and
    `lost` is the error.
    """

    def __init__(self, storage: RDBStorage, seconds: int, stop: StopRequest):
        self.held: set[int] = set()
        self.lost: Exception | None = None
        self._storage, self._seconds, self._stop = storage, seconds, stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=self._seconds)

    def _run(self) -> None:
        heard = time.monotonic()
        while not self._ended.wait(self._seconds):
            try:
                for trial in sorted(self.held):
                    self._storage.record_heartbeat(trial)
                heard = time.monotonic()
            except LOST as error:
                if time.monotonic() - heard > GRACE * self._seconds:
                    self.lost = error
                    self._stop(signal.SIGTERM, None)
                    return


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Whether this process has the directory; the kernel gives it back when the process ends, however it ends."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except (FileNotFoundError, NotADirectoryError):  # its worker has just finished
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)
