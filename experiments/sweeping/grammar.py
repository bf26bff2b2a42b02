"""The grammar of search spaces, the same in flags and in a recipe's `get_sweep()`.

--sweep.optimizer.learning_rate=log:1e-4:1e-2          numbers between, by their logarithm
--sweep.model.dropout=linear:0:0.3                     numbers between; whole ones where the setting is
--sweep.model.num_layers=2,4,6                         these values
--sweep.seed=0:5                                       0, 1, 2, 3, 4: every setting is trained with each seed
--sweep.model.width+model.num_heads=64+2,128+4         zipped: both change together
--sweep.optimizer.beta1@optimizer.name:muon=0.9,0.95   only where another setting of the space has this value
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments import settings
from experiments.sweeping.space import RANGES, SEED, Dimension, Range, Space
from transformer import schema
from transformer.errors import UserError, problem
from transformer.schema import Setting

FLAG = "--sweep."


def split_flags(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Split a command line into its other words and its `--sweep.` flags, name -> text.

    Raises:
        UserError: one is given twice, or has no value.
    """
    words, given = [], {}
    left = list(argv)
    while left:
        word = left.pop(0)
        if not word.startswith(FLAG):
            words.append(word)
            continue
        name, equals, text = word.removeprefix(FLAG).partition("=")
        if not equals and left and not left[0].startswith("--"):
            text = left.pop(0)
        if not text:
            raise problem(f"{FLAG}{name} needs values", do=f"Write {FLAG}{name}=VALUES; see --help.")
        if name in given:
            raise problem(f"{FLAG}{name} is given twice", do="Give it once.")
        given[name] = text
    return words, given


def make_space(given: Mapping[str, Any], seed: int = 0) -> Space:
    """Build the space of a recipe's dict, or of flags (name -> text).

    Args:
        seed: the seed of every point where the space has none.

    Raises:
        UserError: a setting that does not exist, a value that it does not allow, an empty range, a log range through
            zero, a setting varied twice, a condition on what the space does not vary.
    """
    seeds: tuple[int, ...] = (seed,)
    dimensions = []
    for key, values in given.items():
        dimension = _dimension(str(key), values)
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


def _dimension(key: str, values: Any) -> Dimension:
    left, _, condition = key.partition("@")
    names = tuple(left.split("+"))
    leaves = [settings.find(name) for name in names]
    for leaf in leaves:
        if leaf.is_tuple:
            raise problem(f"{leaf.name} is a list, which no sweep varies", do="Give it by --config.")
    parsed = _range(leaves[0], values) if len(names) == 1 else None
    if parsed is None:
        parts = values.split(",") if isinstance(values, str) else list(values)
        parsed = tuple(_choice(leaves, part) for part in parts if part != "")
        if not parsed:
            raise problem(f"the sweep of {key} is empty", expected="at least one value")
        if len(set(parsed)) < len(parsed):
            raise problem(f"the sweep of {key} has a value twice", got=", ".join(map(_text, parsed)))
    return Dimension(names, parsed, _condition(condition) if condition else None)


def _condition(text: str) -> tuple[str, Any]:
    name, colon, value = text.partition(":")
    leaf = settings.find(name)
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
        values = f"{values.start}:{values.stop}" if values.step == 1 else list(values)
    if isinstance(values, str):
        kind, *ends = values.split(":")
        if kind in RANGES and len(ends) == 2:
            values = RANGES[kind](*(_number(leaf, end) for end in ends))
        elif leaf.plain_type is int and len(ends) == 1 and "," not in values:
            low, high = (int(_number(leaf, end)) for end in (kind, *ends))
            if low >= high:
                raise _empty(leaf, values)
            return tuple((schema.checked(number, leaf),) for number in range(low, high))
    if not isinstance(values, Range):
        return None
    if leaf.plain_type not in (int, float):
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
    low, high = (schema.checked(leaf.plain_type(end), leaf) for end in values.ends)
    return Range(low, high, values.log)


def _number(leaf: Setting, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise problem(f"the range of {leaf.name} has an end that is no number", got=repr(text)) from error


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
