"""Commands that train, evaluate and compare models, the same as functions in `api`, and what they are made of."""

import importlib.util
import sys

from experiments.cli.huge_pages import restart_with_huge_pages
from experiments.training.signals import CommandSignals

IS_COMMAND = sys.argv[:1] == ["-m"] and any(
    word.removeprefix("-m").startswith("experiments.") for word in sys.orig_argv
)
"""True where Python is about to run `python -m experiments.NAME`."""

if IS_COMMAND:
    restart_with_huge_pages()
    CommandSignals()  # a signal counts from here on, before the first slow import

NEEDED = (
    *("babel", "grain", "matplotlib", "ml_collections", "numpy", "optax", "orbax", "rich", "safetensors", "scipy"),
    "tokenizers",
)
"""Modules of the extra without which nothing here runs; the others are imported where they are used."""

if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    line = f"experiments needs {', '.join(missing)}. Install it: pip install 'transformer[experiments]'"
    if IS_COMMAND:
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2)
    raise ModuleNotFoundError(line, name=missing[0])
