"""The grammar of search spaces, the same in flags and in a recipe's `get_sweep()`.

--sweep.optimizer.learning_rate=log:1e-4:1e-2          numbers between, by their logarithm
--sweep.model.dropout=linear:0:0.3                     numbers between; whole ones where the setting is
--sweep.model.num_layers=2,4,6                         these values
--sweep.seed=0:5                                       0, 1, 2, 3, 4: every setting is trained with each seed
--sweep.model.width+model.num_heads=64+2,128+4         zipped: both change together
--sweep.optimizer.beta1@optimizer.name:muon=0.9,0.95   only where another setting of the space has this value
--sweep.model.score_settings.factor=1,2                an own setting of the row that model.score names
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import settings
from experiments.cli import flags
from experiments.sweeping.space import RANGES, SEED, Dimension, Range, Space
from transformer import schema
from transformer.errors import UserError, problem
from transformer.own_settings import extended
from transformer.schema import Setting
from transformer.tables import OWN
from transformer.values import split

FLAG = "--sweep."

MOST_VALUES = 10_000
"""Most values that a sweep lists of one setting."""


def split_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split a command line into its other words and its `--sweep.` flags, name -> text.

    One that is given twice has its last value, and a line on standard error says so.

    Raises:
        UserError: one has no value.
    """
    words, given = [], {}
    left = list(argv)
    while left:
        word = left.pop(0)
        if word.partition("=")[0] == FLAG.removesuffix("."):
            raise problem("--sweep names no setting", do=f"Write {FLAG}SETTING=VALUES; see --help.")
        if not word.startswith(FLAG):
            words.append(word)
            continue
        name, equals, text = word.removeprefix(FLAG).partition("=")
        if not equals and left and not left[0].startswith("--"):
            text = left.pop(0)
        if not text:
            raise problem(f"{FLAG}{name} needs values", do=f"Write {FLAG}{name}=VALUES; see --help.")
        flags.set_last(given, name, text, FLAG)
    return words, given


def make_space(given: Mapping[str, Any], seed: int = 0, kind: type = settings.Config) -> Space:
    """Build the space of a recipe's dict, or of flags (name -> text).

    Args:
        seed: the seed of every point where the space has none.
        kind: the schema of the config that is varied, with the own settings of the rows that it chooses.

    Raises:
        UserError: a setting that does not exist, a value that it does not allow, an empty range, a log range through
            zero, a setting varied twice, a condition on what the space does not vary, too many values.
    """
    seeds: tuple[int, ...] = (seed,)
    dimensions: list[Dimension] = []
    for key in sorted(map(str, given), key=_has_own):  # rows first: they bring along settings of their own
        dimension = _dimension(key, given[key], kind, dimensions)
        if SEED not in dimension.names:
            dimensions.append(dimension)
        elif len(dimension.names) > 1 or dimension.when or isinstance(dimension.values, Range):
            raise problem(
                "seeds are varied by themselves: every setting is trained with each of them",
                got=str(dimension),
                do="Write --sweep.seed=0:5, or a list of seeds.",
            )
        else:
            seeds = tuple(value[0] for value in dimension.values)
    return Space(_ordered(dimensions), seeds)


def _has_own(key: str) -> bool:
    return any(map(settings.is_own, key.partition("@")[0].split("+")))


def _find(name: str, kind: type, condition: tuple[str, Any] | None, others: list[Dimension]) -> Setting:
    """Find a setting; an own one of the rows that its condition or the other dimensions choose, else of the config's.

    Raises:
        UserError: there is none, or one of these rows does not have it.
    """
    row = name.rpartition(".")[0].removesuffix(OWN)
    if not settings.is_own(name):
        return settings.find(name, kind)
    if condition is not None and condition[0] == row:
        rows = [condition[1]]
    else:
        rows = [value[d.names.index(row)] for d in others if row in d.names for value in d.values]
    found = None
    for chosen in rows:
        try:
            found = settings.find(name, extended(kind, _nested(row, chosen)))
        except UserError as error:
            if len(rows) == 1:
                raise
            what = f"{name} is not a setting of every {row} of the sweep"
            do = f"Write --sweep.{name}@{row}:ROW=VALUES for the row that has it."
            raise problem(what, got=f"{row} {schema.show(chosen)}", do=do) from error
    return found or settings.find(name, kind)


def _nested(name: str, value: Any) -> dict[str, Any]:
    """Return a setting as a nested dict."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


def _dimension(key: str, values: Any, kind: type, others: list[Dimension]) -> Dimension:
    left, _, text = key.partition("@")
    names, condition = tuple(left.split("+")), _condition(text, kind) if text else None
    leaves = [_find(name, kind, condition, others) for name in names]
    for leaf in leaves:
        if leaf.is_tuple:
            raise problem(f"{leaf.name} is a list, which no sweep varies", do="Give it by --config.")
    parsed = _range(leaves[0], values) if len(names) == 1 else None
    if parsed is None:
        parts = split(values) if isinstance(values, str) else list(values)
        _refuse_many(key, len(parts))
        parsed = tuple(_choice(leaves, part) for part in parts if part != "")
        if not parsed:
            raise problem(f"the sweep of {key} is empty", expected="at least one value")
        if len(set(parsed)) < len(parsed):
            got, do = ", ".join(map(_text, parsed)), "Leave one of them out."
            raise problem(f"the sweep of {key} has a value twice", got=got, expected="each value once", do=do)
    return Dimension(names, parsed, condition)


def _condition(text: str, kind: type) -> tuple[str, Any]:
    name, colon, value = text.partition(":")
    leaf = settings.find(name, kind)
    if not colon:
        raise problem(f"the condition @{text} has no value", expected="@SETTING:VALUE", do=f"Write @{name}:VALUE.")
    return name, schema.checked(schema.parse(value, leaf), leaf)


def _choice(leaves: list[Setting], part: Any) -> tuple[Any, ...]:
    """Parse one choice: a value for each setting."""
    parts = part.split("+") if isinstance(part, str) and len(leaves) > 1 else part
    parts = (parts,) if len(leaves) == 1 else tuple(parts)
    if len(parts) != len(leaves):
        names = "+".join(leaf.name for leaf in leaves)
        raise problem(f"a choice of {names} has another number of values", got=_text(parts), expected=len(leaves))
    read = [
        schema.parse(value.strip(), leaf) if isinstance(value, str) else value
        for value, leaf in zip(parts, leaves, strict=True)
    ]
    return tuple(schema.checked(value, leaf) for value, leaf in zip(read, leaves, strict=True))


def _range(leaf: Setting, values: Any) -> Any:
    """Parse a Range, or the whole numbers of LOW:HIGH; return None where `values` are choices."""
    if isinstance(values, range):
        _refuse_many(leaf.name, len(values))
        values = f"{values.start}:{values.stop}" if values.step == 1 else list(values)
    is_number = leaf.plain_type in (int, float)
    if isinstance(values, str) and "," not in values:
        kind, *ends = values.split(":")
        if kind in RANGES and len(ends) == 2:
            values = RANGES[kind](*(_end(leaf, end) for end in ends))
        elif leaf.plain_type is int and len(ends) == 1 and kind not in RANGES:
            low, high = _end(leaf, kind), _end(leaf, ends[0])
            if not low < high:  # nor where an end is no number
                raise _empty(leaf, values)
            _refuse_many(leaf.name, high - low)
            return tuple((schema.checked(number, leaf),) for number in range(low, high))
        elif ends and is_number:
            raise _no_range(leaf, values)
    if not isinstance(values, Range):
        return None
    if not is_number:
        raise problem(f"{leaf.name} has no numbers between others", expected="a list of values, a,b,c")
    if not (math.isfinite(values.low) and math.isfinite(values.high) and values.low < values.high):
        raise _empty(leaf, f"{values.low:g}:{values.high:g}")
    if values.log and values.low <= 0:
        raise problem(
            f"the log range of {leaf.name} goes through zero",
            got=f"{values.low:g}:{values.high:g}",
            expected="a low end above 0",
            do="Raise the low end, or take linear.",
        )
    low, high = (schema.checked(_end(leaf, schema.show(end)), leaf) for end in values.ends)
    return Range(low, high, values.log)


def _end(leaf: Setting, text: str) -> Any:
    """Parse an end of a range, a whole number where the setting is one."""
    try:
        number = float(text)
    except ValueError as error:
        raise problem(
            f"the range of {leaf.name} has an end that is no number", got=repr(text), expected=_ranges(leaf)
        ) from error
    if leaf.plain_type is not int or not math.isfinite(number):
        return number
    try:
        return schema.parse(text, leaf)
    except UserError as error:
        what = f"the range of {leaf.name} has an end that is no whole number"
        raise problem(what, got=repr(text), expected=_ranges(leaf)) from error


def _no_range(leaf: Setting, text: str) -> UserError:
    """Build the error for a text with a colon that is no range; it names the ranges between its first and last part."""
    parts = text.split(":")
    numbers = [part for part in parts if _is_finite(part)]
    low, high = sorted((numbers[0], numbers[-1]), key=float) if len(numbers) > 1 else ("LOW", "HIGH")
    expected = _ranges(leaf, low, high) if low == "LOW" or float(low) < float(high) else _ranges(leaf)
    if len(parts) == len(numbers) == 2:
        return problem(
            f"{text!r} of {leaf.name} does not state how numbers between its ends are drawn", expected=expected
        )
    return problem(f"no range of {leaf.name}", got=repr(text), expected=expected)


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _ranges(leaf: Setting, low: str = "LOW", high: str = "HIGH") -> str:
    """List the ranges that a setting may have, in words; a log range has a low end above 0."""
    kinds = [f"{kind}:{low}:{high}" for kind in RANGES if kind != "log" or low == "LOW" or float(low) > 0]
    return " or ".join(kinds + ([f"{low}:{high} (whole numbers below {high})"] if leaf.plain_type is int else []))


def _refuse_many(name: str, count: int) -> None:
    """Raise a UserError for more values than a sweep lists."""
    if count > MOST_VALUES:
        raise problem(
            f"the sweep of {name} has too many values",
            got=f"{count:,}",
            expected=f"at most {MOST_VALUES:,}",
            do=None if name == SEED else f"Write --sweep.{name}=linear:LOW:HIGH for the numbers between two.",
        )


def _empty(leaf: Setting, text: str) -> UserError:
    return problem(f"the range of {leaf.name} is empty", got=text, expected="a low end below the high end")


def _ordered(dimensions: list[Dimension]) -> tuple[Dimension, ...]:
    """Order dimensions so that each comes after those that its condition names; raise a UserError for conflicts."""
    owners: dict[str, list[Dimension]] = {}
    for dimension in dimensions:
        for name in dimension.names:
            owners.setdefault(name, []).append(dimension)
    for name, owning in owners.items():
        conditions = [dimension.when for dimension in owning]
        if len(owning) > 1 and (None in conditions or len({c and c[0] for c in conditions}) > 1):
            raise problem(f"{name} is varied twice", got=" and ".join(d.name for d in owning), expected="once")
        if len(set(conditions)) < len(conditions):
            raise problem(f"{name} is varied twice under one condition", got=owning[0].name, expected="once")
    done: list[Dimension] = []
    left = list(dimensions)
    while left:
        ready = [d for d in left if d.when is None or all(o in done for o in owners.get(d.when[0], [None]))]
        if not ready:
            name, condition = left[0].name, left[0].when[0]
            what = "is not varied by this sweep" if condition not in owners else "depends on it in turn"
            raise problem(f"{name} has a condition on {condition}, which {what}", do=f"Add --sweep.{condition}=...")
        done += ready
        left = [d for d in left if d not in ready]
    return tuple(done)


def _text(value: tuple[Any, ...]) -> str:
    return "+".join(map(schema.show, value))
