"""Record of a study: its figure NAME.png, and NAME.json with these keys.

    {"study", "title", "command", "settings", "seeds", "versions", "git", "devices", "seconds", "claims", "numbers"}

JSON has no NaN and no infinity: they are written as the texts "nan", "inf" and "-inf".
"""

import dataclasses
import json
import platform
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.runs.pictures import save
from experiments.storage.metrics import to_json
from experiments.storage.workdir import git_state, versions, write_text_atomically
from experiments.studies.frame.claim import Claim, Study, StudySettings
from transformer import schema
from transformer.errors import problem

DPI = 90
OUTPUT_PATHS = ("workdir", "gallery")
"""Settings of where results are written, which are no part of the record."""


def run_study(name: str, study: Study, settings: StudySettings) -> dict[str, Any]:
    """Run a study, write its two files, and return the record.

    Raises:
        UserError: a setting that does not fit, or a folder that cannot be written.
    """
    folder = Path(settings.workdir)
    if folder.exists() and not folder.is_dir():
        raise problem(f"--workdir {folder} is not a directory", do="Choose another --workdir.")
    resolved = study.resolve(settings)
    began = time.perf_counter()
    numbers = study.measure(resolved)
    seconds = time.perf_counter() - began
    claims = study.judge(numbers)
    save(study.draw(numbers), folder / f"{name}.png", dpi=DPI)
    record = {
        "study": name,
        "title": study.title,
        "command": command_of(name, study, settings),
        "settings": {key: value for key, value in schema.to_dict(resolved).items() if key not in OUTPUT_PATHS},
        "seeds": list(resolved.seeds),
        "versions": versions(),
        "git": git_state(),
        "devices": describe_devices(),
        "seconds": round(seconds, 1),
        "claims": [claim_json(claim) for claim in claims],
        "numbers": plain(numbers),
    }
    write_text_atomically(folder / f"{name}.json", as_json(record))
    return record


def describe_devices() -> str:
    """Return the number and the kind of the devices; for a CPU its name, where the system has it."""
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    if kind != "cpu":
        return f"{count} x {kind}"
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE) or [platform.processor() or platform.machine()]
    return f"{count} cores of {names[0]}" if count > 1 else f"1 core of {names[0]}"


def as_json(record: Mapping[str, Any]) -> str:
    """Format the file: one line for each entry of `numbers`, so that a long array is one line."""
    head = json.dumps({**record, "numbers": {}}, indent=1, ensure_ascii=False, allow_nan=False)
    rows = [f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record["numbers"].items()]
    return head.removesuffix("{}\n}") + "{\n" + ",\n".join(rows) + "\n }\n}\n"


def command_of(name: str, study: Study, settings: StudySettings) -> str:
    """Return the command that gives these numbers, with the settings that are not at their defaults."""
    default = study.settings()
    words = ["python", "-m", "experiments.studies", name]
    for key in schema.settings(study.settings):
        value = getattr(settings, key)
        if key not in OUTPUT_PATHS and value != getattr(default, key):
            words.append(f"--{key}={schema.show(value)}")
    return shlex.join(words)


def claim_json(claim: Claim) -> dict[str, Any]:
    """Return the fields of a claim and its verdict."""
    return {"verdict": claim.verdict, **dataclasses.asdict(claim)}


def plain(value: Any) -> Any:
    """Convert a value for JSON: arrays to lists, floats to six digits, those that are not finite to texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence) or (hasattr(value, "ndim") and value.ndim):
        return [plain(part) for part in (value if isinstance(value, Sequence) else np.asarray(value))]
    value = value.item() if hasattr(value, "item") else value
    return to_json(float(f"{value:.6g}")) if isinstance(value, float) else value
