"""Checkpoints by Orbax: written in the background, checked when read; the newest, the best and those to average stay.

    DIR/STEP/state, DIR/STEP/extra    the arrays, and a JSON record: what the caller adds, metrics, shapes and sums
    DIR/STEP/checksums.json           size and CRC-32 of every other file of DIR/STEP
    DIR/checksums/STEP.json           the same, by which a checkpoint that was deleted is noticed
    DIR/damaged-STEP                  a checkpoint that could not be read, moved aside

Orbax renames a finished checkpoint into place, so a run that is killed while it saves leaves the earlier ones whole.
It does not notice a file that changes afterwards, hence the checksums, written once a save is complete. A checkpoint
without them (the run was killed at that moment, or they are gone) is checked by the sums of its arrays in the record;
one of several processes or earlier versions, whose record has none, is used if Orbax reads it, with a line about that.
"""

import concurrent.futures
import contextlib
import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orbax.checkpoint as ocp

from experiments.parallel.processes import ALONE, Processes
from experiments.storage import checkpoint_format, checksums, retention
from experiments.storage.checkpoint_format import DamagedError
from experiments.storage.retention import Retention, steps_in
from transformer.errors import problem


class Restored(NamedTuple):
    """A restored checkpoint: its step, state and the rest of its record."""

    step: int
    state: Any
    extra: dict[str, Any]


class Checkpoints:
    """The checkpoints of one working directory. Close it (or use it in a `with`), or the last save may be lost.

    Args:
        directory: their directory; created if absent.
        keep: number of newest checkpoints kept, or all settings of retention.
        best_metric: name of the metric that selects the best one.
        best_mode: "max" or "min".
        loss: name of the metric that breaks ties; None: the first of equals is the best.
        read_only: for a reader beside a run that may be writing: nothing is created, moved or removed.
        processes: those of the run, each of which saves and reads its part.
        print_line: called with a line about each damaged or deleted checkpoint, and the first that is not verified.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        keep: Retention | int,
        best_metric: str,
        best_mode: str = "max",
        *,
        loss: str | None = None,
        read_only: bool = False,
        processes: Processes = ALONE,
        print_line: Callable[[str], None] = print,
    ) -> None:
        retention.keep_orbax_quiet()
        self.directory = Path(directory).absolute()
        self.checksums = checksums.OfSteps(self.directory)
        self.retention = Retention(keep) if isinstance(keep, int) else keep
        self.best_metric, self.best_mode, self.loss = best_metric, best_mode, loss
        self.processes, self.print_line = processes, print_line
        self.read_only = read_only or not processes.first
        """True where this process moves and removes nothing: the first one of a run does it for all."""
        self._manager: ocp.CheckpointManager | None = None
        self._background = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: tuple[int, concurrent.futures.Future] | None = None
        self._failure: OSError | None = None
        self._unverified: int | None = None
        self._orders = {step: self._read_order(step) for step in self.steps()}
        self._report_deleted()

    def steps(self) -> list[int]:
        """List the steps that are on disk, oldest first."""
        return steps_in(self.directory)

    def latest_step(self) -> int | None:
        """Return the newest step on disk, of those that the first process lists; None: no checkpoint."""
        return max(self.processes.of_first(self.steps()), default=None)

    def best_step(self) -> int | None:
        """Return the step with the best metric (see `retention.order`), None if none was saved with one."""
        return next(iter(self._ranked()), None)

    def save(self, step: int, state: Any, extra: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> bool:
        """Start to save, and return once the arrays are copied; a step that is on disk already stays as it is.

        Args:
            step: number of updates done.
            state: a tree of jax arrays.
            extra: further data of the checkpoint, as JSON can hold it.
            metrics: scores of this step, `best_metric` among them; None where nothing was measured.

        Raises:
            OSError: this save, or an earlier one, could not be written; this process then saves no more.
            UserError: `metrics` lacks `best_metric`.
        """
        self.wait()
        if self._failure is not None:
            raise self._failure
        if step in self.processes.of_first(self.steps()):
            return False
        if metrics is not None and self.best_metric not in metrics:
            what = "the metric that selects the best checkpoint (training.output.best) was not measured"
            raise problem(what, got=self.best_metric, expected="one of " + ", ".join(sorted(metrics)))
        arguments = checkpoint_format.save_arguments(state, extra, metrics)
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.processes.first:
            checkpoint_format.require_space(self.directory, state)
        self._orders[step] = self._order(metrics)
        try:
            self._manager = self._manager or retention.open_manager(self.directory, self.retention, self.best_step)
            self._manager.save(step, args=arguments, force=True)
        except (OSError, ValueError, RuntimeError) as error:
            self._abandon(step)
            raise self._not_written(step, error) from error
        self._saving = step, self._background.submit(self._complete, self._manager, step)
        return True

    def wait(self) -> None:
        """Wait until the current save is on disk.

        Raises:
            OSError: it could not be written; the error names the path.
        """
        if self._saving is None:
            return
        (step, future), self._saving = self._saving, None
        try:
            future.result()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._not_written(step, error) from error

    def close(self) -> None:
        """Wait for the current save, then release the threads."""
        try:
            self.wait()
        finally:
            self._background.shutdown()
            if self._manager is not None:
                self._manager.close()
                self._manager = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def restore(self, example: Any, step: int | str | None = None) -> Restored:
        """Restore a saved state in the shape, types and shardings of `example` (arrays, or jax.ShapeDtypeStruct).

        Args:
            example: a tree like the saved one.
            step: None for the newest, "best", or a number. A damaged one is moved aside with a line to `print_line`,
                and replaced by the one before it, or by the next best; a number has no replacement.

        Raises:
            UserError: no such checkpoint, none that can be read, or one of another model.
        """
        self.wait()
        damage: dict[int, str] = {}
        for candidate in self._candidates(step):
            found = self.read(candidate, example)
            if isinstance(found, Restored):
                for damaged, why in damage.items():
                    self.set_aside(damaged, why, f"using checkpoint {candidate} instead")
                return found
            damage[candidate] = found
        raise problem(
            f"no checkpoint in {self.directory} can be read: "
            + ", ".join(f"{damaged} is damaged ({why})" for damaged, why in damage.items()),
            do="Choose another step, or train anew in another --workdir.",
        )

    def _candidates(self, step: int | str | None) -> list[int]:
        """List the steps to try, first choice first."""
        steps, ranked = self.processes.of_first([self.steps(), self._ranked()])
        if not steps or (isinstance(step, int) and step not in steps):
            there = "there are " + ", ".join(map(str, steps)) if steps else "there is none"
            name = f"no checkpoint{'' if step is None else f' {step}'} in {self.directory}: {there}"
            raise problem(name, do="Choose one of them." if steps else "Train first: python -m experiments.train")
        if isinstance(step, int):
            return [step]
        first = [s for s in ranked if s in steps] if step == "best" else []
        return [*first, *(s for s in reversed(steps) if s not in first)]

    def _ranked(self) -> list[int]:
        """List the steps that were saved with a finite score, the best first, the first of equals first."""
        ranked = sorted((order, step) for step, order in self._orders.items())
        return [step for (score, _), step in ranked if score < math.inf]

    def read(self, step: int, example: Any) -> Restored | str:
        """Read the checkpoint, or describe what is wrong with its files.

        Raises:
            UserError: it is of another model.
        """
        path = self.directory / str(step)
        share = (self.processes.index, self.processes.count)
        if (damage := self._first(self.checksums.damage(step, share))) is not None:
            return damage
        try:
            record = checkpoint_format.read_record(path)
        except DamagedError as error:
            damage = str(error)
        if (damage := self._first(damage)) is not None:
            return damage
        checkpoint_format.refuse_other_shapes(path, record["arrays"], checkpoint_format.shapes(example))
        try:
            state = checkpoint_format.read_state(path, example, record["sums"])
        except DamagedError as error:
            damage = str(error)
        if (damage := self._first(damage)) is not None:
            return damage
        if not record["sums"] and not self.checksums.of(step) and self._unverified is None:
            self._unverified = step
            self.print_line(f"checkpoint {step} has no checksums: it is used, but damage to its files would not show")
        return Restored(step, state, record["extra"])

    def _first(self, damage: str | None) -> str | None:
        """Return the first damage that any process has found; None: none has."""
        return next((found for found in self.processes.gather(damage) if found is not None), None)

    def set_aside(self, step: int, why: str, instead: str) -> None:
        """Report that `step` is damaged and what is done instead; move it aside, so that it can be saved again."""
        line = f"checkpoint {step} is damaged ({why}); {instead}"
        if not self.read_only:
            aside = (self.directory / str(step)).rename(retention.path_aside(self.directory, step))
            self.checksums.forget(step)
            line += f". The damaged one is now {aside}"
        if not self.read_only or not self.processes.first:
            self._orders.pop(step, None)
            self._manager = None
        self.processes.wait()
        self.print_line(line)

    def _report_deleted(self) -> None:
        """Report the newest checkpoints that were deleted: their checksums exist, but they do not."""
        steps = self.steps()
        for step in self.checksums.steps():
            if step > max(steps, default=-1):
                before = f"the newest is now {steps[-1]}" if steps else "none is left"
                self.print_line(f"checkpoint {step} has been deleted from {self.directory}; {before}")
            if step not in steps and not self.read_only:
                self.checksums.forget(step)

    def _complete(self, manager: ocp.CheckpointManager, step: int) -> None:
        """Wait for Orbax in the background, write the checksums, and remove those of checkpoints that Orbax removed."""
        try:
            manager.wait_until_finished()
        except BaseException:
            self._abandon(step)
            raise
        if not self.processes.first:
            return
        self.checksums.write(step)
        kept = self.steps()
        for other in self.checksums.steps():
            if other not in kept:
                self.checksums.forget(other)

    def _abandon(self, step: int) -> None:
        """Wait for the threads of a failed save that still write (one may even finish), and remove its files.

        Called by the thread that caught the error, since Orbax raises it once in each thread.
        """
        if self._manager is not None:
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                self._manager.close()
        if not self.read_only:
            shutil.rmtree(self.directory / str(step), ignore_errors=True)

    def _not_written(self, step: int, error: Exception) -> OSError:
        """Build the error of a failed save. Orbax may still be writing parts of it, so this process saves no more."""
        self._orders.pop(step, None)
        self._manager = None
        number = error.errno if isinstance(error, OSError) else None
        what = f"the checkpoint could not be written: {checkpoint_format.first_line(error)}"
        self._failure = OSError(number, what, str(self.directory / str(step)))
        return self._failure

    def _read_order(self, step: int) -> tuple[float, float]:
        try:
            return self._order(checkpoint_format.read_record(self.directory / str(step))["metrics"])
        except (DamagedError, OverflowError):  # it is reported when it is restored
            return self._order(None)

    def _order(self, metrics: Mapping[str, float | None] | None) -> tuple[float, float]:
        score, loss = ((metrics or {}).get(name) for name in (self.best_metric, self.loss))
        return retention.order(math.nan if score is None else score, loss, self.best_mode)
