"""Compilation cache: compiled programs stay on disk, so that the second start of a run is quick."""

import os
from pathlib import Path

import jax

from experiments.storage.workdir import checkout


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, unless JAX_COMPILATION_CACHE_DIR, or the program itself, has a folder for them.

    The folder is .cache/jax of the project; where the package is installed, transformer/jax in the user's cache folder.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def cache_folder() -> Path:
    """Choose the folder for compiled programs where none is given."""
    project = checkout()
    if project is not None:
        return project / ".cache" / "jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transformer" / "jax"
