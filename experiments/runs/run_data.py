"""The files in a working directory by which texts are answered without the data: tokenizers and metadata.

DIR/tokenizer.json    `TokenizerPair.to_json`
DIR/task.json         `Task.metadata`: labels, the longest answer and the like
"""

import json
from pathlib import Path
from typing import Any

from experiments.data.stored_json import read_json, read_text
from experiments.data.tokenizers.pair import TokenizerPair
from experiments.storage.workdir import write_text_atomically
from experiments.tasks.build import task_class
from experiments.tasks.task import Task
from experiments.training.experiment import RunData
from transformer.errors import UserError, problem
from transformer.tables import Choice

TOKENIZER = "tokenizer.json"
METADATA = "task.json"
DAMAGED = "Delete it, and run the command that trained once more: it writes the file."
"""Advice to the user who has a damaged file."""


def write_run_data(workdir: Path, task: Task) -> None:
    """Write both files.

    Raises:
        OSError: they could not be written; the error names the path.
    """
    write_text_atomically(workdir / TOKENIZER, task.tokenizers.to_json())
    write_text_atomically(workdir / METADATA, json.dumps(task.metadata, ensure_ascii=False))


def read_run_data(workdir: Path, tokenizer: Choice | None = None) -> RunData | None:
    """Read the files of a run that was started before; None where one is missing, which the run then writes.

    Args:
        tokenizer: `tokenizer.name` of its config.

    Raises:
        UserError: a file is damaged.
    """
    there = all((workdir / name).exists() for name in ("config.json", TOKENIZER, METADATA))
    return require_run_data(workdir, tokenizer=tokenizer) if there else None


def require_run_data(workdir: Path, config: Any = None, *, tokenizer: Choice | None = None) -> RunData:
    """Read the files of a run.

    Args:
        config: that of the run, whose task must find its metadata; None: any metadata.
        tokenizer: `tokenizer.name` of its config; None: that of `config`.

    Raises:
        UserError: a file is missing or damaged.
    """
    for name in (TOKENIZER, METADATA):
        if not (workdir / name).exists():
            do = "Run the command that trained it once more: it writes the file."
            raise problem(f"{workdir} holds no {name}", do=do)
    text = read_text(workdir / TOKENIZER, do=DAMAGED)
    name = config.tokenizer.name if tokenizer is None and config is not None else tokenizer
    try:
        tokenizers = TokenizerPair.from_json(text, name)
    except UserError as error:
        raise UserError(f"{workdir / TOKENIZER}: {str(error).rstrip('.')}. {DAMAGED}") from error
    shape = dict if config is None else task_class(config.task, config.model.architecture).metadata_shape
    return RunData(tokenizers, read_json(workdir / METADATA, shape, do=DAMAGED))
