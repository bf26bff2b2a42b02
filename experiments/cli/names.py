"""Full names of settings, such as "model.width": its setting, and the name that was most likely meant by another."""

import difflib
from collections.abc import Iterable

from transformer import schema
from transformer.errors import nearest, problem, synonym
from transformer.schema import Setting
from transformer.tables import OWN


def is_own(name: str) -> bool:
    """Return whether a full name is that of an own setting of a row: "model.position_settings.slope"."""
    return any(part.endswith(OWN) for part in name.split(".")[:-1])


def find_in(config: type, name: str, kind: type | None = None) -> Setting:
    """Find the setting of a full name, such as "model.width".

    Args:
        config: the schema of the config.
        kind: the same with the own settings of the rows that a config chooses; None: the rows are not known yet, and an
            own setting is taken as a text.

    Raises:
        UserError: there is none (the error names the nearest), or it is a section.
    """
    leaves = schema.settings(kind or config)
    if name in leaves:
        return leaves[name]
    row = name.rpartition(".")[0].removesuffix(OWN)
    if is_own(name) and row in leaves and leaves[row].table is not None:
        if kind is None:
            return Setting(name, str, None, **schema.PLAIN)
        if not any(leaf.startswith(f"{row}{OWN}.") for leaf in leaves):
            what = f"the row that {row} names has no settings of its own"
            raise problem(what, got=name, do=f"Name a row that has some by {row}, or leave it out.")
    inside = [leaf for leaf in leaves if leaf.startswith(name + ".")]
    if inside:
        raise problem(
            f"{name} is a section, not a setting",
            expected=f"one of its settings, such as {inside[0]}",
            do=f"--help={name} lists them.",
        )
    guess = nearest_setting(name, leaves)
    section = (guess or name).partition(".")[0]
    if section in schema.sections(config):
        do = f"--help={section} lists the settings of {section}."
    else:
        do = f"A name is SECTION.NAME, where SECTION is one of {', '.join(schema.sections(config))}."
    raise problem(f"unknown setting {name or repr(name)}", do=f"Did you mean {guess}? {do}" if guess else do)


def nearest_setting(name: str, names: Iterable[str]) -> str | None:
    """Find the full name that was most likely meant: of another section or library, or of another spelling."""
    names = list(names)
    section, _, last = name.rpartition(".")
    exact = [n for n in names if last_part(n) == last]
    beside = [n for n in names if section and n.startswith(section + ".")]
    for search in (synonym, nearest):
        for pool in (exact, beside, names):
            match = search(last, dict.fromkeys(map(last_part, pool)))
            if match is not None:
                same_end = [n for n in pool if last_part(n) == match]
                return max(same_end, key=lambda n: difflib.SequenceMatcher(None, name, n).ratio())
    return None


def last_part(name: str) -> str:
    """Return the last part of a full name."""
    return name.rpartition(".")[2]
