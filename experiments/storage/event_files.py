"""TensorBoard's event files of a run: WORKDIR/tensorboard/events.*."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class EventFiles:
    """The event files of a working directory: a scalar `NAME/SPLIT` for each metric, and pictures.

    Args:
        workdir: the directory.
    """

    def __init__(self, workdir: Path) -> None:
        self.folder = workdir / "tensorboard"
        self._writer: Any = None

    def log(self, line: Mapping[str, Any], moment: float) -> None:
        """Write the metrics of a line.

        Args:
            line: `step`, `split` and the metrics by name.
            moment: time of the line (seconds since 1970).
        """
        # Where PyTorch is installed this imports it, which takes longer than all else that a run imports.
        from tensorboardX import summary
        from tensorboardX.proto.event_pb2 import Event

        for name, value in metrics_of(line).items():
            scalar = summary.scalar(f"{name}/{line['split']}", value)
            self._opened().write_event(Event(wall_time=moment, step=line["step"], summary=scalar))

    def picture(self, name: str, path: Path, step: int) -> None:
        """Write a picture."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        image = Summary.Image(encoded_image_string=path.read_bytes(), colorspace=3)
        value = Summary.Value(tag=f"pictures/{name}", image=image)
        self._opened().write_event(Event(wall_time=path.stat().st_mtime, step=step, summary=Summary(value=[value])))

    def rewrite(self, lines: Sequence[tuple[Mapping[str, Any], float]]) -> None:
        """Delete the event files and write them again from (line, moment)."""
        self.close()
        for path in self.paths():
            path.unlink()
        for line, moment in lines:
            self.log(line, moment)
        self.flush()

    def paths(self) -> list[Path]:
        """Return the files that are there."""
        return sorted(self.folder.glob("events.out.tfevents.*"))

    def flush(self) -> None:
        """Write buffered events to disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self, status: str = "") -> None:
        """Flush, and close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _opened(self) -> Any:
        """Return the writer."""
        if self._writer is None:
            from tensorboardX.event_file_writer import EventsWriter

            self.folder.mkdir(exist_ok=True)
            # SummaryWriter writes in a thread of its own, which ends at the first error; the run would then wait for
            # it for ever. The writer beneath it raises here.
            self._writer = EventsWriter(str(self.folder / "events"), f".{os.getpid()}")
        return self._writer


NO_METRICS = ("step", "split", "seconds")


def metrics_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a line."""
    return {name: value for name, value in line.items() if name not in NO_METRICS}
