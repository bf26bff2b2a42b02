"""Parts of a model's parameters: the beginnings of names as a checkpoint has them, such as decoder.blocks.self."""

from collections.abc import Iterable

from transformer.errors import nearest, problem


def within(name: str, parts: Iterable[str]) -> bool:
    """Return whether a name lies in one of the parts.

    >>> within("decoder.blocks.self.key.bias", ["decoder.blocks"]), within("decoder2.bias", ["decoder"])
    (True, False)
    """
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def parts_of(names: Iterable[str]) -> list[str]:
    """Return the names without their last part, each once.

    >>> parts_of(["head.kernel", "head.bias"])
    ['head']
    """
    return list(dict.fromkeys(name.rpartition(".")[0] or name for name in names))


def require_part(flag: str, part: str, names: Iterable[str]) -> None:
    """Raise a UserError for a part under which there is no array; it names the nearest part."""
    if any(within(name, [part]) for name in names):
        return
    parts = dict.fromkeys(".".join(name.split(".")[:end]) for name in names for end in range(1, name.count(".") + 2))
    ends = {known.rpartition(".")[2]: known for known in parts}
    guess = nearest(part, parts) or ends.get(nearest(part, ends) or "")
    first = dict.fromkeys(name.partition(".")[0] for name in names)
    raise problem(
        f"{flag} names a part that has no parameters",
        got=repr(part),
        expected=f"one of {', '.join(first)}, or a part of one, such as {parts_of(names)[0]}",
        do=f"Did you mean {guess}?" if guess else None,
    )
