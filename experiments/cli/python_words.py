"""Errors in the words of Python: rooms name flags, which a caller from Python has never typed.

--workdir runs/x is not a directory      workdir runs/x is not a directory
Add --trust_code (in Python ...)         Pass trust_code=True
--config.model.width=64                  model.width=64
"""

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

from experiments.training.loop import NotFiniteError
from transformer.errors import UserError

F = TypeVar("F", bound=Callable[..., Any])

REPLACED = (
    (r"Add --trust_code \(in Python trust_code=True\)", "Pass trust_code=True"),
    (r"python -m experiments\.train --config=configs/NAME\.py --workdir=(\S+)", r'api.train(RECIPE, workdir="\1")'),
    (r"python -m experiments\.train\b", "api.train(RECIPE, workdir=...)"),
    (r"--help=(\w+) lists", r'api.describe("\1") lists'),
    (r"Did you mean --help=(\w+)\?", r'Did you mean api.describe("\1")?'),
    (r"--help lists", "api.describe() lists"),
    (r"--force goes on", "force=True goes on"),
    (r"give its new place: --config\.([\w.]+)=PATH", r'give its new place: paths={"\1": PATH}'),
    (r"Add --sweep\.SETTING=VALUES, or get_sweep\(\) to the recipe; see --help", 'Give {"SETTING": VALUES}'),
    (r"fixed by --config\.[\w.]+\w", "fixed by the overrides"),
    (r"--(config|sweep)\.", ""),
    (r"\bconfigs/(\w+)\.py\?", r'"\1"?'),
    (r"=none\b", "=None"),
    (r"--(\w)", r"\1"),
)
"""Pattern of a message for the command line -> its words for Python, in this order."""


def python_words(message: str) -> str:
    """Return a message without the words of the command line."""
    for pattern, words in REPLACED:
        message = re.sub(pattern, words, message)
    return message


def in_python(function: F) -> F:
    """Wrap a function so that the errors that it raises are in the words of Python."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (UserError, NotFiniteError) as error:
            error.args = (python_words(str(error)),)
            raise

    return wrapped
