"""Compilation cache: compiled programs stay on disk, so that the second start of a run is quick."""

import os
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Keep compiled programs in .cache/jax of the project, or in the folder JAX_COMPILATION_CACHE_DIR."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parents[2] / ".cache" / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
