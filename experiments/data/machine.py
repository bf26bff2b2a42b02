"""Memory that this machine can still give to this process: the least of what the system and each limit leave.

system            what programs can take without swapping
control groups    limit - usage + cache of files, of the process's group and each above it (versions 1 and 2)
address space     limit (ulimit -v) - size
"""

import os
import resource
from pathlib import Path

from transformer.errors import UserError, problem

MEMINFO = Path("/proc/meminfo")
MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc/self/statm")

LIMITS = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""Version of control groups -> the file of the limit, that of the usage, and the entry of memory.stat that is cache."""


def free_memory() -> int | None:
    """Return the bytes that this process can still take; None where the platform does not report them."""
    found = [free for free in (_of_the_system(), of_groups(MEMBERSHIP, GROUPS), _of_the_process()) if free is not None]
    return max(min(found), 0) if found else None


def too_large(what: str, needed: int, free: int, do: str) -> UserError:
    """Build the error for what needs more memory than is free; both are in bytes."""
    expected = f"at most {size(free)}, which are free"
    return problem(f"{what} does not fit in memory", got=f"{size(needed)} or more", expected=expected, do=do)


def size(count: int) -> str:
    """Format a number of bytes.

    >>> size(1234567), size(5 * 10**12)
    ('1.2 MB', '5,000.0 GB')
    """
    return f"{count / 1e6:,.1f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"


def of_groups(membership: Path, root: Path) -> int | None:
    """Return the bytes that the process's control groups leave; None without a limit.

    Args:
        membership: the file that names the process's groups.
        root: the folder where they are mounted; in a container, the process's own group may be at its top.
    """
    if not membership.exists():
        return None
    free = []
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            free.append(_left(group, *LIMITS[1 if controllers else 2]))
            if group == top:
                break
    return min((left for left in free if left is not None), default=None)


def _left(group: Path, limit: str, usage: str, cache: str) -> int | None:
    """Return the bytes that one group leaves; None where it has no limit."""
    try:
        most, used = ((group / name).read_text().strip() for name in (limit, usage))
        entries = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return int(most) - int(used) + int(entries.get(cache, 0)) if most.isdecimal() else None


def _of_the_system() -> int | None:
    if MEMINFO.exists():
        for line in MEMINFO.read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "MemAvailable":
                return 1024 * int(rest.split()[0])
    names = os.sysconf_names
    if {"SC_AVPHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_the_process() -> int | None:
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or not PROCESS.exists():
        return None
    return most - int(PROCESS.read_text().split()[0]) * resource.getpagesize()
