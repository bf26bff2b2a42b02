"""The files in a working directory by which texts are answered without the data: tokenizers and metadata.

DIR/tokenizer.json    `TokenizerPair.to_json`
DIR/task.json         `Task.metadata`: labels, the longest answer and the like
"""

import json
from pathlib import Path

from experiments.data.tokenizers.pair import TokenizerPair
from experiments.storage.workdir import write_text_atomically
from experiments.tasks.task import Task
from experiments.training.experiment import RunData
from transformer.errors import UserError, problem

TOKENIZER = "tokenizer.json"
METADATA = "task.json"


def write_run_data(workdir: Path, task: Task) -> None:
    """Write both files.

    Raises:
        OSError: they could not be written; the error names the path.
    """
    write_text_atomically(workdir / TOKENIZER, task.tokenizers.to_json())
    write_text_atomically(workdir / METADATA, json.dumps(task.metadata, ensure_ascii=False))


def read_run_data(workdir: Path) -> RunData | None:
    """Read the files of a run that was started before; None where one is missing, which the run then writes.

    Raises:
        UserError: a file is damaged.
    """
    there = all((workdir / name).exists() for name in ("config.json", TOKENIZER, METADATA))
    return require_run_data(workdir) if there else None


def require_run_data(workdir: Path) -> RunData:
    """Read the files of a run.

    Raises:
        UserError: a file is missing or damaged.
    """
    tokenizers = TokenizerPair.from_json(_read(workdir, TOKENIZER))
    text = _read(workdir, METADATA)
    try:
        metadata = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(workdir, str(error)) from error
    if not isinstance(metadata, dict):
        raise _damaged(workdir, "it holds no object")
    return RunData(tokenizers, metadata)


def _damaged(workdir: Path, why: str) -> UserError:
    do = "Delete it, and run the command that trained once more: it writes the file."
    return problem(f"{workdir / METADATA} cannot be read: {why}", do=do)


def _read(workdir: Path, name: str) -> str:
    try:
        return (workdir / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        do = "Run the command that trained it once more: it writes the file."
        raise problem(f"{workdir} holds no {name}", do=do) from error
