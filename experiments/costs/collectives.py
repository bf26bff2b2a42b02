"""Collectives of a compiled program: what the devices of a mesh exchange, with the bytes.

    all-gather, all-reduce, all-to-all, collective-permute    bytes of the result, on each device
    reduce-scatter                                            bytes of what is reduced, on each device

A collective inside a loop counts as often as the loop turns, which XLA writes beside it where it knows the number.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

WIDTHS = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
"""Element type -> bytes; any other has 4."""

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
COLLECTIVE = re.compile(rf"= (.+?) ({'|'.join(KINDS)})(-start)?\(")
CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TURNS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
GROUP = re.compile(r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\})")


class Collective(NamedTuple):
    """The collectives of one kind in a program.

    Attributes:
        count: how often they are run.
        bytes: of all of them, on each device.
    """

    count: int
    bytes: int


def collectives(text: str) -> dict[str, Collective]:
    """Count the collectives of a compiled program by kind.

    Args:
        text: `compiled.as_text()`.
    """
    bodies, entry = _computations(text)
    totals: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for kind, size, times in _walk(bodies, entry, 1):
        totals[kind][0] += times
        totals[kind][1] += times * size
    return {kind: Collective(*totals[kind]) for kind in KINDS if kind in totals}


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """Divide a program's text into its computations; return them, and the name of the first to run."""
    bodies: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        found = COMPUTATION.match(line)
        if found:
            name = found[2]
            bodies[name] = []
            entry = name if found[1] else entry
        elif name:
            bodies[name].append(line)
    return bodies, entry


def _walk(bodies: dict[str, list[str]], name: str, times: int) -> Iterator[tuple[str, int, int]]:
    """Yield (kind, bytes, times) of every collective of a computation, and of those that it calls."""
    for line in bodies.get(name, ()):
        found = COLLECTIVE.search(line)
        if found:
            shapes = SHAPE.findall(found[1])
            # A start returns its operands beside its results; one of several halves is the result.
            sizes = [_bytes(*shape) for shape in shapes]
            size = sum(sizes[len(sizes) // 2 :]) if found[3] and len(sizes) > 1 else sum(sizes)
            yield found[2], size * (_group(line) if found[2] == "reduce-scatter" else 1), times
            continue  # the computation that it applies is that of two numbers
        turns = TURNS.search(line)
        inner = times * (int(turns[1]) if turns and " while(" in line else 1)
        branches = BRANCHES.search(line)
        for called in CALLED.findall(line) + (re.findall(r"[\w.\-]+", branches[1]) if branches else []):
            yield from _walk(bodies, called, inner)


def _bytes(kind: str, sizes: str) -> int:
    return WIDTHS.get(kind, 4) * math.prod(int(size) for size in sizes.split(",") if size)


def _group(line: str) -> int:
    """Return the number of devices that take part together."""
    found = GROUP.search(line)
    if found is None:
        return 1
    return int(found[1]) if found[1] else len(found[2].split(","))
