"""The database of a study, shared by many workers through Optuna: SQLite by default, PostgreSQL by URL.

A database keeps heartbeats, by which workers that were killed are found; Optuna's journal files keep none. In SQLite a
transaction locks only once it writes, so two workers could read one trial as free and both take it; here every
transaction locks when it begins. `Heartbeat` records that a worker is running, and `locked` reserves a directory on
disk for one worker.
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
"""Kind of database -> its driver."""

GRACE = 4
"""Heartbeats that a worker may miss before its trials are given to others."""

SQLITE_OPTIONS = {
    *("timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements"),
    *("uri", "mode", "cache", "immutable", "vfs", "nolock", "psow"),
}
"""The options that may follow ? in a URL of SQLite: those of its driver, and those of its own."""

ESCAPED = "In a path, write ? as %3F, # as %23 and % as %25."

WAIT = 60
"""Seconds that SQLite waits for another worker's transaction."""

CONNECTING = {"connect_timeout": 10}
"""Seconds that a server has to answer."""

LOCK = 6_710_886
"""The number of PostgreSQL's lock for creating Optuna's tables; any other would do."""

CONNECTION_ERRORS = (sqlalchemy.exc.SQLAlchemyError, StorageInternalError)
"""Errors that Optuna raises when the database cannot be reached."""


def open_storage(url: str, heartbeat: int) -> RDBStorage:
    """Open the storage at a URL, and create its tables where they are missing.

    Args:
        heartbeat: seconds between heartbeats of a worker; one that misses GRACE of them counts as dead.

    Raises:
        UserError: no database that keeps heartbeats, or one that cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = _parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    arguments = {"timeout": WAIT} if sqlite else CONNECTING
    try:
        with _creation_lock(parsed), _without_experimental_warnings():
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs={"connect_args": arguments, **({} if sqlite else {"pool_pre_ping": True})},
                heartbeat_interval=heartbeat,
                grace_period=GRACE * heartbeat,
            )
    except (*CONNECTION_ERRORS, OSError, ImportError, ValueError) as error:
        raise problem(
            f"the storage cannot be reached: {_reason(error)}",
            got=f"tried {without_password(url)}",
            do="Is the server running, is the name right, may you write there? Choose another --storage if not.",
        ) from error
    if sqlite:
        _lock_at_begin(storage.engine)
    return storage


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, in which characters of the path that mean something in a URL are escaped."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)


def close(storage: RDBStorage) -> None:
    """Close all connections of a storage."""
    storage.remove_session()
    storage.engine.dispose()


def without_password(url: str) -> str:
    """Replace the password in a URL by ***."""
    return make_url(url).render_as_string(hide_password=True)


def connection_lost(error: Exception, url: str, saved: str) -> UserError:
    """Build the error for a database that became unreachable during the work.

    Args:
        saved: a sentence about the work that is not lost.
    """
    return problem(
        f"the storage was lost: {_reason(error)}",
        got=without_password(url),
        do=f"{saved} The same command goes on once the storage is back.",
    )


def fail_stale_trials(study: optuna.Study) -> None:
    """Mark the trials whose workers have missed GRACE heartbeats as failed."""
    with _without_experimental_warnings():
        optuna.storages.fail_stale_trials(study)


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise _unusable(url) from error
    backend = parsed.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise _unusable(url)
    options = url.partition("?")[2]
    if backend == "sqlite" and options and (not parsed.query or {*parsed.query} - SQLITE_OPTIONS):
        raise problem("--storage has an option that SQLite does not have", got=f"?{options}", do=ESCAPED)
    return parsed if "+" in parsed.drivername else parsed.set(drivername=DRIVERS[backend])


def _unusable(url: str) -> UserError:
    journal = "journal" in url or url.endswith(".log")
    why = ": a journal file keeps no heartbeat, so workers that were killed could not be found" if journal else ""
    return problem(
        f"--storage is no database that can keep a study{why}",
        got=url.partition("@")[2] or url,
        expected="sqlite:///PATH or postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    )


@contextlib.contextmanager
def _creation_lock(url: URL) -> Iterator[None]:
    """Let one worker at a time create the tables: by a lock of the server, or on a file beside SQLite's."""
    if url.get_backend_name() != "sqlite":
        engine = sqlalchemy.create_engine(url, connect_args=CONNECTING, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:  # closing it releases the lock
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
def _without_experimental_warnings() -> Iterator[None]:
    """Silence Optuna's warning that heartbeats are experimental, since users of a sweep cannot act on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _lock_at_begin(engine: sqlalchemy.Engine) -> None:
    """Make every transaction of SQLite begin with the lock for writing."""
    engine.dispose()  # connections from before have no listeners

    @sqlalchemy.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transaction of its own

    @sqlalchemy.event.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost error, which is the driver's."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Heartbeat:
    """A thread that records a heartbeat for each trial in `trials` at a fixed interval.

    Once it has failed for as long as makes this worker count as dead, it requests the training to stop, and `lost` is
    the error.

    Args:
        storage: the study's database.
        seconds: interval of the heartbeats.
        stop: the request that the training reads between steps.
    """

    def __init__(self, storage: RDBStorage, seconds: int, stop: StopRequest):
        self.trials: set[int] = set()
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
        last_recorded = time.monotonic()
        while not self._ended.wait(self._seconds):
            try:
                for trial in sorted(self.trials):
                    self._storage.record_heartbeat(trial)
                last_recorded = time.monotonic()
            except CONNECTION_ERRORS as error:
                if time.monotonic() - last_recorded > GRACE * self._seconds:
                    self.lost = error
                    self._stop(signal.SIGTERM, None)
                    return


@contextlib.contextmanager
def locked(directory: Path, *, wait: bool = False) -> Iterator[bool]:
    """Try to lock a directory for this process; yield whether it is locked.

    Args:
        directory: it.
        wait: whether to wait for a lock that another process holds.

    The kernel releases the lock when the process ends, in whatever way.
    """
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except (FileNotFoundError, NotADirectoryError):  # its worker has just finished
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        yield False
        return
    try:
        yield True
    finally:
        os.close(lock)
