"""Numbers of a batch that mean nothing to a model: ids outside of its tables, negative lengths, several prompts a row.

Where the numbers are known they are an error; where they are traced (under `jax.jit`), the logits and last hidden
states that they belong to are NaN. These are written over the outputs, since a NaN among the embeddings would reach
every position: 0 x NaN is NaN.
The other positions read the nearest row of the table instead, and their gradients stay finite.
"""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from transformer.axes import check_shape
from transformer.errors import problem
from transformer.models.batch import ENTRIES, known, real, require
from transformer.models.config import ModelConfig
from transformer.models.entries import whole_numbers
from transformer.nn.module_rows import structure

PADDING = "Padding may hold any id: give {side}_lengths, or {side}_segments with id 0."


class Fault(NamedTuple):
    """Numbers of an entry that mean nothing.

    Attributes:
        entry: name in the batch.
        where: booleans, of the entry's shape or B: True where they are.
        what: the mistake, in words.
        expected: what is right, in words.
        do: what to do.
    """

    entry: str
    where: Any
    what: str
    expected: str
    do: str | None = None


def faults_of_input(numbers: Mapping[str, Any], config: ModelConfig) -> list[Fault]:
    """List what the entries of a whole pass may not hold, whether they hold it or not."""
    found = []
    for side in structure(config.architecture).sides:
        require(numbers, side)
        inside = real(numbers, side)
        tables = {side: ("model.vocab_size", config.vocab_size or 0)}
        if config.embedding.types and f"{side}_types" in numbers:
            tables[f"{side}_types"] = ("model.embedding.types", config.embedding.types)
        for name, (setting, size) in tables.items():
            where = _outside(numbers[name], 0, size - 1)
            where = where if inside is None else where & inside
            expected = f"0 to {size - 1} ({setting} {size})"
            found.append(Fault(name, where, "an id outside of its table", expected, PADDING.format(side=side)))
        name = f"{side}_lengths"
        if name in numbers:
            found.append(_negative(name, numbers))
    if "target" in numbers and "prefix_lengths" in numbers:
        found.append(_negative("prefix_lengths", numbers))
    if config.class_head.classes is not None:
        found += _packed(numbers, side, "a classifier reads one example of each row")
    return found


def faults_of_prompt(numbers: Mapping[str, Any], config: ModelConfig) -> list[Fault]:
    """List what the entries of a prompt may not hold, whether they hold it or not."""
    found = faults_of_input(numbers, config)
    prefix = numbers.get("prefix_lengths")
    if "target" not in numbers:
        last = numbers["source"].shape[1] - 1
        if prefix is None:
            return found
        outside = _outside(prefix, 0, last)
        return [*found, Fault("prefix_lengths", outside, "no mask slot where they begin", f"0 to {last}")]
    inside = real(numbers, "target")
    if inside is not None:
        entry = "target_segments" if "target_segments" in numbers else "target_lengths"
        empty = ~inside.any(axis=1)
        found.append(Fault(entry, empty, "a prompt without a token", "1 token or more", "Begin with a start token."))
    if prefix is not None and "target_lengths" in numbers:
        after = prefix > numbers["target_lengths"]
        found.append(Fault("prefix_lengths", after, "a prefix longer than the prompt", "at most target_lengths"))
    return [*found, *_packed(numbers, "target", "decoding goes on from one prompt of each row")]


def _outside(numbers: Any, least: int, most: int) -> Any:
    return (numbers < least) | (numbers > most)


def outside(entry: str, ids: Any, size: int) -> Fault:
    """Return the fault of ids outside of a table of `size` rows."""
    return Fault(entry, _outside(ids, 0, size - 1), "an id outside of its table", f"0 to {size - 1}")


def _negative(name: str, numbers: Mapping[str, Any]) -> Fault:
    return Fault(name, numbers[name] < 0, "a negative length", "0 or more")


def _packed(numbers: Mapping[str, Any], side: str, what: str) -> list[Fault]:
    """Return the fault of rows with more than one run of one segment."""
    name = f"{side}_segments"
    if name not in numbers:
        return []
    segments = numbers[name] * real(numbers, side)
    begins = (segments[:, 1:] != segments[:, :-1]) & (segments[:, 1:] != 0)
    several = begins.sum(axis=1) + (segments[:, :1] != 0).sum(axis=1) > 1
    return [Fault(name, several, what, "one segment, and padding with id 0", "Give each example a row of its own.")]


def check(faults: Iterable[Fault], batch: Mapping[str, Any]) -> list[Fault]:
    """Return the faults that cannot be known yet.

    Raises:
        UserError: a known one; it names the first number.
    """
    faults = list(faults)
    for fault in faults:
        if known(fault.where) and np.any(fault.where):
            at = tuple(int(i) for i in np.argwhere(fault.where)[0])
            place = ", ".join(f"{axis} {i}" for axis, i in zip(("example", "position"), at, strict=False))
            got = f"{np.asarray(batch[fault.entry])[at]} at {place}"
            name = f"batch[{fault.entry!r}]" if fault.entry in ENTRIES else fault.entry
            raise problem(f"{name}: {fault.what}", got=got, expected=fault.expected, do=fault.do)
    return [fault for fault in faults if not known(fault.where)]


def unknown_examples(faults: Iterable[Fault]) -> Array | None:
    """Return the examples of which anything may be unknown, B; None where there are no faults."""
    found = [fault.where if fault.where.ndim == 1 else jnp.any(fault.where, axis=1) for fault in faults]
    return functools.reduce(operator.or_, found) if found else None


def unknown_positions(faults: Iterable[Fault], numbers: Mapping[str, Any], side: str) -> Array | None:
    """Return the positions of `side` whose outputs are unknown, B T or B 1; None where there are no faults.

    A fault of the source makes those of the target unknown that read it: all, or in packed rows its own segment's.
    """
    found = []
    for fault in faults:
        where = fault.where
        if where.ndim == 1:
            where = where[:, None]
        elif not fault.entry.startswith(side):
            packed = "source_segments" in numbers and "target_segments" in numbers
            if packed:
                same_BTS = numbers["target_segments"][:, :, None] == numbers["source_segments"][:, None]
                where = jnp.any(where[:, None] & same_BTS, axis=2)
            else:
                where = jnp.any(where, axis=1, keepdims=True)
        found.append(where)
    return functools.reduce(operator.or_, found) if found else None


def one_step_less(remaining_B: Array) -> Array:
    """Count a step: an example without one left, or that cannot be decoded, has -1.

    Raises:
        UserError: an example has no step left, where that is known.
    """
    if known(remaining_B) and np.any(np.asarray(remaining_B) < 1):
        raise problem(
            "no step is left",
            got=f"steps left of each example: {np.asarray(remaining_B)}",
            expected="1 or more (-1: its prompt or a token could not be read)",
            do="Call start with more steps.",
        )
    return jnp.maximum(remaining_B, 0) - 1


def next_token(token_B: Any, remaining_B: Array, config: ModelConfig) -> tuple[Array, Array]:
    """Return the token of a step as int32, and the steps left: -1 after a token outside of the vocabulary.

    Raises:
        UserError: no whole numbers, another number of them than examples, a token outside where that is known.
    """
    numbers_B = whole_numbers("token_B", token_B)
    check_shape("token_B", numbers_B, "B", {"B": len(remaining_B)})
    fault = outside("token_B", numbers_B, config.vocab_size or 0)
    for unknown in check([fault], {"token_B": token_B}):
        remaining_B = jnp.where(unknown.where, -1, remaining_B)
    return jnp.asarray(numbers_B), remaining_B


def mark(output: Array, unknown: Array | None) -> Array:
    """Write NaN over the output, such as logits, of what is unknown; `unknown` has its axes but the last."""
    return output if unknown is None else jnp.where(unknown[..., None], jnp.nan, output)
