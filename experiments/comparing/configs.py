"""Differences of configs: the settings in which one run differs from another."""

from collections.abc import Iterable, Mapping
from typing import Any

from experiments import settings
from experiments.training.config import STOPPING
from transformer import schema
from transformer.errors import UserError
from transformer.named_code import named_code
from transformer.read_by import unread


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
    """List the settings in which two configs differ: (full name, old, new, whether it can change the result).

    The configs are nested dicts. A setting that one lacks, since another version wrote it, counts as its default; one
    that neither reads does not count.
    """
    return differences_of_many(old, [new])[0]


def differences_of_many(
    old: Mapping[str, Any], others: Iterable[Mapping[str, Any]]
) -> list[list[tuple[str, Any, Any, bool]]]:
    """List the settings in which each of many configs differs from one, as `differences` does."""
    leaves, default = schema.settings(settings.Config), schema.flatten(settings.to_json_dict(settings.Config()))
    flat_old = schema.flatten(old)

    def changed(nested: Mapping[str, Any]) -> list[tuple[str, Any, Any, bool]]:
        new = schema.flatten(nested)
        patient = any(values.get("training.patience") is not None for values in (flat_old, new))
        names = dict.fromkeys([*default, *flat_old, *new])
        both = {name: tuple(values.get(name, default.get(name)) for values in (flat_old, new)) for name in names}
        return [
            (name, *values, name not in leaves or leaves[name].changes_result or (patient and name in STOPPING))
            for name, values in both.items()
            if values[0] != values[1]
        ]

    others = list(others)
    found = [changed(other) for other in others]
    not_by_old = _not_read(old) if any(found) else set()
    for i, (other, listed) in enumerate(zip(others, found, strict=True)):
        if any(name in not_by_old for name, *_ in listed):
            neither_reads = not_by_old & _not_read(other)
            found[i] = [difference for difference in listed if difference[0] not in neither_reads]
    return found


def _not_read(values: Mapping[str, Any]) -> set[str]:
    """Collect the settings that a config does not read.

    None are known of a config that this version cannot read, or that names code, which is not imported here.
    """
    if named_code(settings.Config, values):
        return set()
    try:
        return set(unread(settings.from_json_dict(values)))
    except UserError:
        return set()
