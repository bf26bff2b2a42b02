"""Report of a benchmark: lines and tables that are printed as they come, and, with --json, one file of all numbers.

    {"case": ..., "command": ..., "machine": {...}, "versions": {...}, "git": {"commit": ..., "clean": ...} or null,
     "settings": {...}, "lines": [...], "tables": [{"title": ..., "rows": [{column: number or text}]}]}

A column's name has the unit; an absent number is absent from its row. The settings are those of the model that is
timed, resolved.
"""

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from experiments.benchmarks.processes import Failed
from experiments.cli.imports import split_imports
from experiments.cli.table_output import write_table
from experiments.cli.terminal import terminal
from experiments.storage.table_files import MEANING, TableFile
from experiments.storage.workdir import git_state, versions, write_text_atomically
from experiments.storage.writable import refuse_unwritable
from experiments.training.progress import count_progress, devices_in_words, print_line
from experiments.training.tables import final_table, print_table
from transformer.schema import not_empty, setting

SHOWN_VARIABLES = ("XLA_FLAGS", "GLIBC_TUNABLES", "OMP_NUM_THREADS", "JAX_PLATFORMS", "JAX_DEFAULT_MATMUL_PRECISION")
"""Variables of the environment that change speeds; the processes of a benchmark inherit them."""

OWN = "this library"
"""Name of this project's program among those that take turns."""

FORMATS = {
    "tokens/s": ",.1f",
    "batches/s": ",.1f",
    "trials an hour": ",.0f",
    "GFLOP/s": ",.1f",
    "share of the roof": ".1%",
    "padding": ".1%",
    "overhead": "+.1%",
    "losses differ by": ".1e",
}
"""Column -> the format of its numbers."""


@dataclasses.dataclass(frozen=True)
class ReportFlags:
    """Flags of every case."""

    json: str | None = setting(
        None, "file for all numbers with versions, machine and command, written anew; none: no file", check=not_empty
    )
    output: str | None = setting(None, MEANING, check=not_empty)


class Report:
    """The output of a benchmark; `modules` are those that its command line imports, for its processes.

    Args:
        case: name of the case.
        argv: words of the command line behind `bench`.
        path: file for the numbers; None: none.
        output: file of the tables for other programs; None: none.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, case: str, argv: Sequence[str], path: str | None, output: str | None = None) -> None:
        self.case, self.argv, self.path = case, argv, None if path is None else Path(path)
        self.output = TableFile(output)
        self.modules, _ = split_imports(argv)
        self.console, self.machine, self.versions = terminal(), dict[str, Any](), dict[str, str]()
        self.lines, self.tables = list[str](), list[dict[str, Any]]()
        self.settings, self.git = dict[str, Any](), None
        if self.path is not None:
            refuse_unwritable(self.path, "--json")

    def begin(self, settings: dict[str, Any], packages: Iterable[str] = (), notes: Iterable[str] = ()) -> None:
        """Print the machine and the versions; called once nothing is left to be checked.

        Args:
            settings: those of what is timed, as JSON can hold them.
            packages: other programs that are timed.
            notes: lines about the settings.
        """
        self.settings, self.machine, self.git = settings, machine(), git_state()
        self.versions = versions() | {name: importlib.metadata.version(name) for name in packages}
        for note in notes:
            self.line(note)
        shown = [f"{name} {self.versions[name]}" for name in ("jax", "jaxlib", *packages)]
        variables = [f"{name}={self.machine[name]}" for name in SHOWN_VARIABLES if name in self.machine]
        first = [self.machine[name] for name in ("devices", "processor")]
        line = ", ".join([*first, f"{self.machine['cores']} cores", f"Python {self.versions['python']}", *shown])
        print_line(self.console, "; ".join([line, *variables]))

    def line(self, line: str) -> None:
        """Print a line, and keep it."""
        self.lines.append(line)
        print_line(self.console, line)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print a table, and keep its numbers."""
        self.tables.append({"title": title, "rows": [dict(row) for row in rows]})
        shown = [{name: _cell(name, value) for name, value in row.items()} for row in rows]
        print_table(self.console, final_table(shown, title=title))

    def end(self) -> None:
        """Write the files, where there are any.

        Raises:
            OSError: one cannot be written any more.
        """
        rows = [{"case": self.case, "table": table["title"], **row} for table in self.tables for row in table["rows"]]
        write_table(self.output, rows, "bench", self.argv, machine=self.machine, settings=self.settings)
        if self.path is None:
            return
        command = shlex.join(["python", "-m", "experiments.bench", *self.argv])
        record = {"case": self.case, "command": command, "machine": self.machine, "versions": self.versions}
        record |= {"git": self.git, "settings": self.settings, "lines": self.lines, "tables": self.tables}
        write_text_atomically(self.path, json.dumps(record, indent=1) + "\n")
        print_line(self.console, f"numbers: {self.path}")

    def installed(self, programs: Mapping[str, Sequence[str]]) -> list[str]:
        """Return those programs whose packages are installed, and print a line that names the missing packages.

        Args:
            programs: name of a program -> the packages that it needs.
        """
        every = {package for packages in programs.values() for package in packages}
        missing = {package for package in every if not importlib.util.find_spec(package)}
        if missing:
            self.line(f"not installed: {', '.join(sorted(missing))}. Install: pip install 'transformer[peers]'")
        return [name for name, packages in programs.items() if missing.isdisjoint(packages)]

    def completed(self, results: Mapping[str, list[Any] | Failed]) -> dict[str, list[Any]]:
        """Return the results of the programs that ran to the end, and print why each of the others is left out."""
        for name, found in results.items():
            if isinstance(found, Failed):
                self.line(f"{name} is left out: {found.reason}")
        return {name: found for name, found in results.items() if not isinstance(found, Failed)}

    def progress(self, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Show how many of a number of things are done, and the time left; see `count_progress`."""
        return count_progress(total, 0, unit, self.console)


def spread(name: str, values: Sequence[float], unit: str = "") -> dict[str, float]:
    """Build the columns of the median, the least and the most of values.

    Args:
        name: of the column of the median.
        unit: written behind the names of the other two.
    """
    behind = f", {unit}" if unit else ""
    return {name: statistics.median(values), f"least{behind}": min(values), f"most{behind}": max(values)}


def speed_over(own: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Build the column of this library's speed as a multiple of another program's: the median of ratios in a round.

    Args:
        own: seconds in each round.
        other: likewise, of the other program.
    """
    ratios = [theirs / ours for theirs, ours in zip(other, own, strict=True)]
    return {"speed of this library over it": statistics.median(ratios)}


def machine() -> dict[str, Any]:
    """Describe the machine: system, processor, cores of this process, devices, variables that change speeds."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores(),
        "devices": devices_in_words(),
        **{name: os.environ[name] for name in SHOWN_VARIABLES if os.environ.get(name)},
    }


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _cell(name: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return format(value, FORMATS.get(name, "," if isinstance(value, int) else ",.2f"))
