"""Directories of the tiny checkpoints in tests/golden/interop_*.npz."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.golden.files import Record, load


def text_of(codes: np.ndarray) -> Any:
    """Return JSON from an array of its bytes."""
    return json.loads(bytes(codes.astype(np.uint8)))


def tensors_of(record: Record) -> dict[str, np.ndarray]:
    """Return the tensors of a golden file by their names."""
    return {name.removeprefix("tensor."): x for name, x in record.items() if name.startswith("tensor.")}


def write(record: Record, directory: Path, tensors: dict[str, np.ndarray] | None = None, **config: Any) -> Path:
    """Write a golden file as the directory that `transformers` saved, perhaps with other tensors and entries."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors_of(record) if tensors is None else tensors, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(text_of(record["config"]) | config))
    if generation := text_of(record["generation"]):
        (directory / "generation_config.json").write_text(json.dumps(generation))
    return directory


def checkpoint(name: str, directory: Path, **config: Any) -> Path:
    """Write the tiny checkpoint of a name."""
    return write(load(f"interop_{name}"), directory, **config)
