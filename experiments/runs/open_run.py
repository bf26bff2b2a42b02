"""A finished or running experiment, read back from its working directory."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.costs.needed import refuse_state
from experiments.data.examples import Document, Pair
from experiments.data.tokenizers.tokens import SPACE
from experiments.runs.pictures import easy_to_read
from experiments.runs.run_data import require_run_data
from experiments.runs.stored_config import changed_code, code_line, origin_named, stored_config
from experiments.runs.trained import TrainedExperiment
from experiments.storage.averaging import average
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.retention import Retention
from experiments.storage.workdir_checks import (
    refuse_other_data,
    refuse_other_metadata,
    refuse_unwritable_name,
    unkept_trial,
)
from experiments.tasks.task import Task
from experiments.training.experiment import Experiment, set_up
from transformer.errors import problem
from transformer.schema import LARGEST

SHOWN = 40
"""Maximum length of a document in the picture at the end of training: in characters, and in tokens."""

NO_EXAMPLE = "no text of the held-out data is short enough for the model with its answer"


def print_note(line: str) -> None:
    """Print a remark beside the answers, which may go to a file."""
    print(f"note: {line}", file=sys.stderr)


def open_run(
    workdir: str | Path,
    checkpoint: str | None = None,
    average_last: int | None = None,
    *,
    read_data: bool = True,
    trust_code: bool = False,
    paths: Sequence[tuple[str, str]] = (),
    note: Callable[[str], None] = print_note,
) -> TrainedExperiment:
    """Read a run from its working directory.

    Args:
        checkpoint: "best", "last" or a step; None: the mean of `average_last` checkpoints, or the best one.
        average_last: number of last checkpoints to average; None: by the run's settings (the best one where fewer than
            two count), 1: none are averaged.
        read_data: False where texts are answered and no split is needed: the files of the data may be gone.
        trust_code: consent to run code that the run's config.json names.
        paths: new places of data that has moved: names of settings, such as data.path, and their texts.
        note: called with a line about a checkpoint that is not the one that was asked for.

    Raises:
        UserError: no run there, code without consent, no such checkpoint, none that can be read, a checkpoint and an
            average at once, or data that has changed.
    """
    path = Path(workdir)
    refuse_unwritable_name(path)
    config, record = stored_config(path, trust_code=trust_code, paths=paths)
    for name in changed_code(config, record):
        note(code_line(name).removeprefix("note: "))
    unkept = unkept_trial(path)
    if unkept is not None:
        raise unkept
    step: int | str | None = {None: "best", "last": None}.get(checkpoint, checkpoint)
    if isinstance(step, str) and step != "best":
        if not step.isdecimal() or len(step) > len(str(LARGEST)):
            expected, do = "best, last or a step", "Leave it out for the best one."
            raise problem("unknown checkpoint", got=repr(checkpoint), expected=expected, do=do)
        step = int(step)
    if checkpoint is not None and average_last is not None and average_last > 1:
        raise problem(
            "--checkpoint names one checkpoint and --average_last asks for a mean of the last ones",
            got=f"{checkpoint}, {average_last} checkpoints",
            do="Give one of them.",
        )
    run_data = require_run_data(path, config)
    refuse_other_vocabulary(path, config, run_data.tokenizers.size)
    with origin_named(path):
        experiment = set_up(config, run_data, read_data=read_data)
    refuse_state(experiment)
    if read_data:
        now = experiment.task.splits.fingerprint
        refuse_other_data(path, record.get("data", now), now)
        refuse_other_metadata(path, run_data.metadata, experiment.task.metadata)
    example = experiment.state_shapes
    count = average_last or 1
    if average_last is None and checkpoint is None:
        count = config.training.average_last
    best = experiment.config.training.output.best
    with Checkpoints(
        path / "checkpoints",
        Retention.of(config.training),
        best,
        experiment.task.metrics[best].mode,
        loss=experiment.task.names["loss"],
        read_only=True,
        print_line=note,
    ) as saved:
        if average_last is None and count > 1 and len(saved.retention.counted(saved.steps())) < 2:
            line = (
                f"fewer than 2 checkpoints to average (training.average_last = {count}); the best one is used instead"
            )
            note(line)
            count = 1
        if count > 1:
            mean = average(saved, example, count)
            return TrainedExperiment(
                experiment, mean.state.evaluated_params, mean.step, path, len(mean.extra["averaged"])
            )
        found = saved.restore(example, step)
    return TrainedExperiment(experiment, found.state.evaluated_params, found.step, path)


def refuse_other_vocabulary(path: Path, config: Any, size: int) -> None:
    """Raise a UserError where the tokenizers have more ids than the checkpoint's model."""
    if size > config.model.vocab_size:
        raise problem(
            f"the vocabulary of {path / 'tokenizer.json'} does not fit the checkpoint",
            got=f"{size:,} tokens",
            expected=f"at most model.vocab_size = {config.model.vocab_size:,}",
            do="Bring back the tokenizer.json that the run wrote.",
        )


def example_text(experiment: Experiment) -> str | None:
    """Choose a text of the data, of the test split where there is one, that the fonts here can draw if any is.

    Returns:
        None where no text is short enough for the model with its answer.
    """
    splits = experiment.task.splits
    prompts = (_prompt(experiment, example) for example in (splits.test or splits.validation)[:500])
    found = [text for text in prompts if text is not None]
    short = next(filter(easy_to_read, found), found[0] if found else None)
    return next((text for text in found if len(text) > 20 and easy_to_read(text)), short)


def _prompt(experiment: Experiment, example: Pair | Document) -> str | None:
    """Return the text of an example, or a document's first tokens; None if it is too long for the model."""
    if isinstance(example, Pair):
        return example.source if example.source.strip() and _fits(experiment, example.source) else None
    task = experiment.task
    source, line = task.tokenizers.source, " ".join(example.text[: 4 * SHOWN].split())
    words = line[:SHOWN]
    if source.space_before and len(line) > SHOWN:  # without the part of a word
        words = words.rpartition(SPACE)[0] or words
    lengths = source.lengths([words[: end + 1] for end in range(len(words))])
    for count in range(min(int(lengths.max(initial=0)), SHOWN, task.settings.config.context // 2), 0, -1):
        text = words[: np.flatnonzero(lengths <= count).max(initial=-1) + 1]
        if task.mask_marker is not None:
            text = _with_gap(text, task)
        if text.strip() and _fits(experiment, text):
            return text
    return None


def _with_gap(text: str, task: Task) -> str:
    """Put a gap in the place of the middle word, where tokens hold spaces, or of the middle character."""
    words = text.split(SPACE)
    if task.tokenizers.source.space_before and len(words) > 1:
        words[len(words) // 2] = task.mask_marker
        return SPACE.join(words)
    return f"{text[: len(text) // 2]}{task.mask_marker}{text[len(text) // 2 + 1 :]}"


def _fits(experiment: Experiment, text: str) -> bool:
    """Return whether a text with its answer is short enough for the model; without a limit any of the data is."""
    task, limit = experiment.task, experiment.config.model.max_length
    answer = experiment.config.decoding.max_new_tokens or task.max_answer_length
    (tokens,) = task.read([text])
    fillable = len(tokens) <= answer or task.mask_marker is None or not task.fixed_answer_length
    return fillable and (limit is None or task.sequence_length(tokens, answer) <= limit)


def answer_text(run: TrainedExperiment, text: str) -> tuple[Any, str]:
    """Compute the answer to a text: the generated ids, none for a classifier, and the answer in words."""
    task = run.experiment.task
    if task.classes is None:
        (ids,) = run.answers([text])
        return ids, task.answer(text, ids)
    (probabilities,) = run.evaluation().probabilities(run.params, [text], one_shape=False)
    return np.zeros(0, np.int32), labels_in_words(dict(zip(task.classes, probabilities, strict=True)))


def labels_in_words(probabilities: Mapping[str, float], most: int = 3) -> str:
    """Format the likeliest labels with their probabilities, the likeliest first."""
    order = sorted(probabilities, key=lambda label: -probabilities[label])[:most]
    return ", ".join(f"{label} {probabilities[label]:.1%}" for label in order)
