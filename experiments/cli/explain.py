"""Errors that a user can resolve, as one line of a command."""

import errno
import os
import re

from transformer.errors import UserError

WHAT_TO_DO = {
    errno.ENOSPC: "Free some space, or choose another folder.",
    errno.EDQUOT: "Free some space of your quota, or choose another folder.",
    errno.EFBIG: "Choose a folder whose file system allows larger files.",
    errno.EROFS: "Choose a folder that can be written to.",
    errno.EACCES: "Change the permissions, or choose another path.",
    errno.EPERM: "Change the permissions, or choose another path.",
    errno.ENOTDIR: "A part of this path is a file; choose another path.",
    errno.EEXIST: "A part of this path is a file; choose another path.",
    errno.EISDIR: "A file was expected; choose another path.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ELOOP: "Links go round in a circle; choose another path.",
    errno.EIO: "Check the disk, or choose another folder.",
    errno.ESTALE: "The network file system has lost it; try again.",
}
"""Error of the operating system that a user can resolve -> what to do. Any other is a bug."""


def explain(error: BaseException) -> str | None:
    """Build the line for a mistake of the user or a full, read-only or forbidden path; return None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    number, paths = None, []
    if isinstance(error, OSError):
        number = error.errno
        paths = [os.fsdecode(path) for path in (error.filename, error.filename2) if isinstance(path, str | bytes)]
    elif code := re.search(
        r"\[os_error_code='(\d+)'\]", str(error)
    ):  # the form of TensorStore, which writes checkpoints
        number = int(code[1])
        paths = re.findall(r'local file "([^"]+)"', str(error))[:1]
    if number in WHAT_TO_DO:
        where = " -> ".join(paths)
        return f"{where + ': ' if where else ''}{os.strerror(number)}. {WHAT_TO_DO[number]}"
    return explain(error.__cause__) if error.__cause__ is not None else None
