"""Guard against a compiler that computes wrong values: the flag of XLA that turns the faulty pass off.

XLA reads XLA_FLAGS once, as JAX starts its backend at the first computation, and aborts the process for a flag that it
does not have. So a flag is added before that, where the version of jaxlib is in `FAULTS` and its library has the flag;
processes that this one starts inherit it. A value of the user's own stays. Nothing happens on import: commands call
`guard` as they start, and functions of `api` that compute `guard_from_python`.
"""

import functools
import mmap
import os
import re
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from transformer.errors import warn


class Fault(NamedTuple):
    """Pass of XLA that computes wrong values on a CPU.

    Attributes:
        first: first version of jaxlib that has the fault.
        right: first version after it that is known to be right; None: none is.
        flag: setting of XLA that turns the pass off.
        value: its value.
        wrong: computation that comes out wrong, and its reference.
    """

    first: tuple[int, ...]
    right: tuple[int, ...] | None
    flag: str
    value: str
    wrong: str

    @property
    def text(self) -> str:
        """The word of XLA_FLAGS."""
        return f"--{self.flag}={self.value}"


FAULTS = (
    # 0.10.1 has the flag and is right; in 0.11.0 reductions of arrays of rank 7 crash (issues 39257 and 40412).
    Fault(
        first=(0, 10, 2),
        right=None,
        flag="xla_cpu_experimental_ynn_fusion_type",
        value="",
        wrong="sums over products of many rows, JAX issue 39103",
    ),
)
"""Known faults. Where a version is right again (tests/processes/test_compiler.py computes the case), name it here."""


def guard() -> str | None:
    """Add the flags against known faults to XLA_FLAGS, for this process and those that it starts.

    Returns:
        A line about flags that could not be set, and how to set them; None: all that are needed are set.
    """
    flags, faults = os.environ.get("XLA_FLAGS", ""), missing(os.environ.get("XLA_FLAGS", ""), jaxlib.__version__)
    if not faults:
        return None
    if is_file(flags):
        return too_late(faults, "XLA_FLAGS names a file", "Add it to that file")
    if not backend_has_started():
        os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *(fault.text for fault in faults)])
        return None
    if jax.default_backend() != "cpu":
        return None
    return too_late(faults, "JAX has computed already", "Set it in the environment, or before the first computation")


def guard_from_python() -> None:
    """Guard a function that a user's program calls; warn where a flag could not be set."""
    if (line := guard()) is not None:
        warn(line)


def missing(flags: str, version: str) -> list[Fault]:
    """List the faults of a version of jaxlib whose flags are not among those of XLA_FLAGS, and which XLA has."""
    named = {word.partition("=")[0] for word in flags.split()}
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return [
        fault
        for fault in FAULTS
        if fault.first <= number
        and (fault.right is None or number < fault.right)
        and f"--{fault.flag}" not in named
        and has_flag(fault.flag)
    ]


def is_file(flags: str) -> bool:
    """Return whether XLA takes the text of XLA_FLAGS as the path of a file with flags."""
    return flags.strip() != "" and not flags.lstrip().startswith("-")


@functools.cache
def has_flag(name: str) -> bool:
    """Search the library of XLA for the name of a flag; it aborts the process for one that it does not have."""
    for path in Path(jaxlib.__file__).parent.glob("*jax_common*"):
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
            if library.find(name.encode()) >= 0:
                return True
    return False


def backend_has_started() -> bool:
    """Return whether JAX has started its backend: the number of a CPU's devices can then not be changed."""
    before = jax.config.jax_num_cpu_devices
    try:
        jax.config.update("jax_num_cpu_devices", max(before, 0) + 1)
    except RuntimeError:
        return True
    jax.config.update("jax_num_cpu_devices", before)
    return False


def too_late(faults: list[Fault], why: str, do: str) -> str:
    """Build the line about flags that could not be set."""
    texts, wrong = " ".join(fault.text for fault in faults), "; ".join(fault.wrong for fault in faults)
    what = f"jaxlib {jaxlib.__version__} may compute wrong values on a CPU ({wrong})"
    return f"{what}, and the flag that prevents it could not be set, since {why}. {do}: XLA_FLAGS={texts}"
