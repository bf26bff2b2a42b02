"""Trackers: programs that keep and draw the metrics of many runs, beside metrics.jsonl, which is always written.

tensorboard    event files in WORKDIR/tensorboard
mlflow         files in the current folder, or MLFLOW_TRACKING_URI
wandb          Weights & Biases: offline in WORKDIR/wandb, or as WANDB_MODE has it

A tracker never costs a run: where one fails, a note says why, and it gets nothing more in this session. The id under
which each knows the run is in WORKDIR/trackers.json, so that a run that continues is the same run there.
"""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from experiments.data.stored_json import Fields, read_json
from experiments.storage.event_files import EventFiles
from experiments.storage.mlflow_tracker import MlflowRun
from experiments.storage.run_facts import RunFacts
from experiments.storage.wandb_tracker import WandbRun
from experiments.storage.workdir import write_text_atomically
from transformer.errors import problem

NAME = "trackers.json"
FINISHED, STOPPED, FAILED = "FINISHED", "KILLED", "FAILED"
"""Ends of a session of a run, by MLflow's names."""


class Tracker(Protocol):
    """The connection to a tracker, for one run."""

    def log(self, line: Mapping[str, Any], moment: float) -> None:
        """Log `step`, `split` and the metrics of a line; `moment` is its time (seconds since 1970)."""

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture."""

    def flush(self) -> None:
        """Write what is buffered."""

    def close(self, status: str) -> None:
        """End the session."""


class Row(NamedTuple):
    """A row of TRACKERS.

    Attributes:
        package: the package that it needs.
        extra: the extra of this project that installs it; "": it is always installed.
        start: (facts, the id under which it knows the run, or None) -> the connection, with a `key` if it has ids.
    """

    package: str
    extra: str
    start: Callable[[RunFacts, str | None], Any]


TRACKERS: Mapping[str, Row] = {
    "tensorboard": Row("tensorboardX", "", lambda facts, key: EventFiles(facts.workdir)),
    "mlflow": Row("mlflow", "mlflow", MlflowRun),
    "wandb": Row("wandb", "wandb", WandbRun),
}


def refuse_missing(names: Sequence[str]) -> None:
    """Raise a UserError for a tracker whose package is not installed."""
    for name in names:
        row = TRACKERS[name]
        if importlib.util.find_spec(row.package) is None:
            do = f"Install it: pip install 'transformer[{row.extra}]'. Or leave it out of training.output.trackers."
            raise problem(f"the tracker {name} needs a package that is not installed", got=f"no {row.package}", do=do)


class Trackers:
    """The connections of one run. Close them, or the last metrics may be lost.

    Args:
        names: rows of TRACKERS.
        facts: what is known of the run.
    """

    def __init__(self, names: Sequence[str], facts: RunFacts) -> None:
        self.facts = facts
        self._open: dict[str, Tracker] = {}
        path = facts.workdir / NAME
        self._keys = read_json(path, Fields({}, others=str), do="Delete it.") if path.exists() else {}
        for name in names:
            self._try(name, lambda name=name: self._start(name))

    def _start(self, name: str) -> None:
        tracker = TRACKERS[name].start(self.facts, self._keys.get(name))
        self._open[name] = tracker
        key = getattr(tracker, "key", None)
        if key is not None and self._keys.get(name) != key:
            self._keys[name] = key
            write_text_atomically(self.facts.workdir / NAME, json.dumps(self._keys) + "\n")

    def log(self, line: Mapping[str, Any], moment: float) -> None:
        """Log a line with every tracker."""
        self._each(lambda tracker: tracker.log(line, moment))

    def picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture with every tracker."""
        self._each(lambda tracker: tracker.picture(name, path, step))

    def flush(self) -> None:
        """Write what is buffered."""
        self._each(lambda tracker: tracker.flush())

    def close(self, status: str = FINISHED) -> None:
        """End the session with every tracker."""
        self._each(lambda tracker: tracker.close(status))
        self._open = {}

    def rewrite(self, lines: Sequence[tuple[Mapping[str, Any], float]]) -> None:
        """Write event files again from (line, moment), where there are some; other trackers keep what they have."""
        events = self._open.get("tensorboard") or EventFiles(self.facts.workdir)
        if "tensorboard" in self._open or events.paths():
            self._try("tensorboard", lambda: events.rewrite(lines))
            if "tensorboard" not in self._open:
                events.close()

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in [*self._open.items()]:
            self._try(name, lambda tracker=tracker: call(tracker))

    def _try(self, name: str, call: Callable[[], None]) -> None:
        """Call; on an error print a note, and leave the tracker out from now on."""
        try:
            call()
        except Exception as error:  # of code that is not this project's: no kind of error may cost a run
            failed = self._open.pop(name, None)
            if failed is not None:
                with contextlib.suppress(Exception):
                    failed.close(FAILED)
            lines = str(error).strip().splitlines()
            reason = f"{type(error).__name__}{': ' + lines[0] if lines else ''}"
            print(f"note: {name} failed, so it gets no more metrics; training goes on ({reason})", file=sys.stderr)
