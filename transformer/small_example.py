"""The check of a function from outside: one call on the shapes of a small example.

Nothing is computed, and a function that was not made for this, such as os:system, gets no value that it could act on.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax

from transformer.errors import UserError, problem


def check_call(
    what: str,
    function: Callable[..., Any],
    takes: Iterable[str],
    call: Callable[..., Any],
    examples: tuple[Any, ...],
    *,
    named: Iterable[str] = (),
) -> None:
    """Check that a function takes its arguments, then trace `call`, which calls it and checks what it returns.

    Args:
        what: names the function, for errors.
        takes: names of what the function takes by position.
        call: takes `examples`.
        examples: arrays or their shapes, and nested dicts of them.
        named: names of what the function takes by name.

    Raises:
        UserError: the function takes other arguments, fails, or returns something else.
    """
    takes, named = tuple(takes), tuple(named)
    expected = f"a function of ({', '.join((*takes, *named))})"
    signature = signature_of(function)
    if signature is not None:
        try:
            signature.bind(*takes, **dict.fromkeys(named))
        except TypeError as error:
            name = f": {error}" if "'" in str(error) else ""  # without one it states no more than the two signatures
            raise problem(f"{what} takes other arguments{name}", got=str(signature), expected=expected) from error
    trace(what, call, examples, f"{expected} that jax.jit can trace")


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature of a function; None where it has none, as one that is not written in Python may."""
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):
        return None


def trace(what: str, call: Callable[..., Any], examples: tuple[Any, ...], expected: str) -> Any:
    """Return the shapes of what `call` returns for examples. Raises a UserError if it fails."""
    try:
        return jax.eval_shape(call, *examples)
    except UserError as error:
        raise UserError(error) from None  # without JAX's notes on its frames
    except Exception as error:  # the function is the user's own, and may raise anything
        got = f"{type(error).__name__}: {error}".splitlines()[0]
        raise problem(f"{what} fails on a small example", got=got, expected=expected) from error
