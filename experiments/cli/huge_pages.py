"""Huge pages for the memory of a command on Linux.

Each step of training allocates its activations anew. In pages of 4 KiB, a quarter of a step's time on a CPU goes into
page faults. The allocator of glibc asks for huge pages if an environment variable is set when a program starts, so a
command that was started without it starts once more.
"""

import os
import sys

VARIABLE = "GLIBC_TUNABLES"
SETTING = "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Replace this process by the same command with huge pages; do nothing where the variable is set, even to "".

    The process keeps its number, its streams and its signals' defaults.
    """
    if sys.platform != "linux" or VARIABLE in os.environ or not sys.executable:
        return
    os.environ[VARIABLE] = SETTING
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
