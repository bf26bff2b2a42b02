"""What a study leaves behind: NAME.png and NAME.json.

    {"study", "title", "command", "settings", "seeds", "versions", "git", "devices", "seconds", "claims", "numbers"}

JSON has no NaN and no infinity: they are the texts "nan", "inf" and "-inf".
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
WHERE = ("workdir", "gallery")
"""Settings that say where results go, which are no part of them."""


def carry_out(name: str, study: Study, settings: StudySettings) -> dict[str, Any]:
    """Runs a study and writes its two files; the record.

    Raises:
        UserError: a setting that does not fit, or a folder that cannot be written.
    """
    folder = Path(settings.workdir)
    if folder.exists() and not folder.is_dir():
        raise problem(f"--workdir {folder} is not a directory", do="Choose another --workdir.")
    chosen = study.chosen(settings)
    began = time.perf_counter()
    numbers = study.measure(chosen)
    seconds = time.perf_counter() - began
    claims = study.judge(numbers)
    save(study.draw(numbers), folder / f"{name}.png", dpi=DPI)
    record = {
        "study": name,
        "title": study.title,
        "command": command_of(name, study, settings),
        "settings": {key: value for key, value in schema.to_dict(chosen).items() if key not in WHERE},
        "seeds": list(chosen.seeds),
        "versions": versions(),
        "git": git_state(),
        "devices": devices_in_words(),
        "seconds": round(seconds, 1),
        "claims": [claim_json(claim) for claim in claims],
        "numbers": plain(numbers),
    }
    write_text_atomically(folder / f"{name}.json", as_json(record))
    return record


def devices_in_words() -> str:
    """How many of what; of a CPU its name, where the system tells it."""
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    if kind != "cpu":
        return f"{count} x {kind}"
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"^model name\s*:\s*(.+)$", told, re.MULTILINE) or [platform.processor() or platform.machine()]
    return f"{count} cores of {names[0]}" if count > 1 else f"1 core of {names[0]}"


def as_json(record: Mapping[str, Any]) -> str:
    """The text of the file: an entry of `numbers` a line, so that long arrays do not take a line each number."""
    head = json.dumps({**record, "numbers": {}}, indent=1, ensure_ascii=False, allow_nan=False)
    rows = [f"  {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record["numbers"].items()]
    return head.removesuffix("{}\n}") + "{\n" + ",\n".join(rows) + "\n }\n}\n"


def command_of(name: str, study: Study, settings: StudySettings) -> str:
    """The command that gives these numbers: the settings that are not at their defaults."""
    default = study.settings()
    words = ["python", "-m", "experiments.studies", name]
    for key in schema.settings(study.settings):
        value = getattr(settings, key)
        if key not in WHERE and value != getattr(default, key):
            words.append(f"--{key}={schema.show(value)}")
    return shlex.join(words)


def claim_json(claim: Claim) -> dict[str, Any]:
    """The verdict, and what led to it."""
    return {"verdict": claim.verdict, **dataclasses.asdict(claim)}


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: arrays as lists, floats with six digits, those that are not finite as texts."""
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence) or (hasattr(value, "ndim") and value.ndim):
        return [plain(part) for part in (value if isinstance(value, Sequence) else np.asarray(value))]
    value = value.item() if hasattr(value, "item") else value
    return to_json(float(f"{value:.6g}")) if isinstance(value, float) else value
