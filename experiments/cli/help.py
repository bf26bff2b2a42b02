"""Settings as text: an aligned table of names, types, defaults, meanings and allowed values."""

import dataclasses
import textwrap
from collections.abc import Iterable

from experiments.cli.names import nearest_setting
from transformer import schema
from transformer.errors import nearest, problem
from transformer.schema import Check, Setting

GAP = "  "
WIDEST_DEFAULT = 14


def table(leaves: Iterable[Setting], *, prefix: str = "", width: int = 100, required: object = None) -> str:
    """Build a row for each setting; meanings are wrapped, so that no line is longer than `width` characters.

    Args:
        leaves: the settings.
        prefix: written before each name, `--` for flags.
        width: characters of a line.
        required: the default of a setting that must be given.
    """
    heads = ("setting", "type", "default")
    rows = [(prefix + leaf.name, leaf.type_name, _default(leaf, required)) for leaf in leaves]
    sizes = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    lines = [_row(heads, ["meaning"], sizes)]
    available = width - len(GAP) * (len(heads) + 1) - sum(sizes)
    for row, leaf in zip(rows, leaves, strict=True):
        text = described(leaf, row[2])
        lines.append(_row(row, [line for part in text for line in textwrap.wrap(part, max(available, 20))], sizes))
    return "\n".join(lines)


def described(leaf: Setting, default: str = "") -> list[str]:
    """Return the meaning of a setting, what reads it, and what it may be; a part each.

    Args:
        default: its default as it stands beside, so that a long one is repeated here; "" where it stands in full.
    """
    return [_meaning(leaf, default), *_readers(leaf), *_choices(leaf)]


def _row(cells: Iterable[str], text: list[str], sizes: list[int]) -> str:
    first = GAP + GAP.join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)) + GAP
    return "\n".join(((first if i == 0 else " " * len(first)) + line).rstrip() for i, line in enumerate(text or [""]))


def _default(leaf: Setting, required: object) -> str:
    text = "required" if required is not None and leaf.default is required else schema.show(leaf.default)
    return text if 0 < len(text) <= WIDEST_DEFAULT else "(below)" if text else "(empty)"


def _meaning(leaf: Setting, default: str) -> str:
    parts = [leaf.meaning]
    if isinstance(leaf.check, Check):
        parts.append(leaf.check.expected.removeprefix("a number ").removeprefix("of "))
    if default == "(below)":
        parts.append(f"default: {schema.show(leaf.default).replace(',', ', ')}")
    if not leaf.changes_result:
        parts.append("may differ on resume")
    return "; ".join(parts)


def _readers(leaf: Setting) -> list[str]:
    """List with what a setting is read, each condition once, those of some architectures with their names."""
    places = [(f"in {condition.where} " if condition.where else "", condition.expected) for condition in leaf.read_by]
    return list(dict.fromkeys(f"{place}only with {expected}" for place, expected in places))


def _choices(leaf: Setting) -> list[str]:
    path = ["package.module:attribute"] if leaf.table is not None else []
    if not leaf.allowed:
        return [f"a {part}" for part in path]
    return [f"one of: {' or '.join([', '.join(leaf.allowed), *path])}"]


def help_of(config: type, section: str | None = None) -> str:
    """Build the text about a config: its sections, or every setting of one section (or one setting).

    Raises:
        UserError: an unknown section.
    """
    leaves = schema.settings(config)
    if section is not None:
        section = section.removeprefix("config.")
        chosen = [leaf for name, leaf in leaves.items() if f"{name}.".startswith(f"{section}.")]
        if not chosen:
            names = list(schema.sections(config))
            guess = nearest(section, names) or nearest_setting(section, leaves)
            did_you_mean = f"Did you mean --help={guess}?" if guess else None
            raise problem(f"unknown section {section!r}", expected=", ".join(names), do=did_you_mean)
        return f"{table(chosen)}\n\n  Set one by --config.{chosen[0].name}=VALUE, and so on."
    meanings = {field.name: field.metadata["meaning"] for field in dataclasses.fields(config)}
    lines = [f"  {name.ljust(max(map(len, meanings)))}  {text}" for name, text in meanings.items()]
    return "\n".join(["Sections of the config; --help=SECTION lists the settings of one:", *lines])
