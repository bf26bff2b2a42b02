"""The same example in another process, whose sets and dicts of strings have another order.

What depends on the order of a set, or on `hash`, is the same in each call of one process and differs in the next.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from transformer.errors import UserError, look_up, path_of
from transformer.named_code import import_modules
from transformer.tables import TABLES, Row
from transformer.testing import InapplicableError

SECONDS = 300
"""Longest time of the other process."""


def in_another_process(axis: str, row: Row, function: Callable[..., Any], **example: Any) -> Any:
    """Call a function in another process with another seed of hashes, and return its result.

    Args:
        function: (row, **example) -> what JSON can hold; at the top of a module.
        example: what JSON can hold.

    Raises:
        InapplicableError: no other process finds the row.
        RuntimeError: the other process fails.
    """
    name, module = _name(axis, row)
    task = {"axis": axis, "row": name, "module": module, "function": path_of(function), "example": example}
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import answer; answer()"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONHASHSEED": _other_seed(), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    if done.returncode:
        raise RuntimeError(f"in another process: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer() -> None:
    """Read a task of `in_another_process` from standard input, and print the result as JSON."""
    task: Mapping[str, Any] = json.load(sys.stdin)
    function: Any = look_up("function", {}, task["function"])
    if task["module"]:
        import_modules([task["module"]])
    print(json.dumps(function(TABLES[task["axis"]].find(task["row"]), **task["example"])))


def _name(axis: str, row: Row) -> tuple[str, str | None]:
    """Return a name or path of a row, and the module that registers the name, if there is one."""
    try:
        name = row.path or TABLES[axis].name_of(row, axis)
    except UserError as error:
        raise InapplicableError("no name or path stands for the row, so that no other process finds it") from error
    module = None if ":" in name else TABLES[axis].module_of(name)
    if module == "__main__" or name.startswith("__main__:"):
        raise InapplicableError("the row is of this program alone, so that no other process finds it")
    return name, module


def _other_seed() -> str:
    return "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
