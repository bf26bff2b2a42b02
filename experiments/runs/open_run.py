"""A finished or running experiment, read back from its working directory."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.data.examples import Document, Pair
from experiments.data.tokenizers.tokens import REPLACEMENT
from experiments.runs.attention_maps import attention_map
from experiments.runs.pictures import easy_to_read, font_for, readable_tokens, save
from experiments.runs.run_data import require_run_data
from experiments.runs.stored_config import origin_named, stored_config
from experiments.storage import metrics
from experiments.storage.averaging import average
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.retention import Retention
from experiments.storage.workdir import refuse_other_data, refuse_other_metadata, refuse_unwritable_name
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment, set_up
from transformer.decoding import DecodingConfig
from transformer.errors import problem
from transformer.inspection.plots import attention_maps, curves
from transformer.nn.positions import POSITIONS

LONGEST = 16
"""Maximum ratio of a user's text to the longest of the data; memory grows with the square of the length."""

SHOWN = 40
"""Maximum length of a document in the picture at the end of training: in characters, and in tokens."""

NO_EXAMPLE = "no text of the held-out data is short enough for the model with its answer"


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with trained parameters (the average where there is one)."""

    experiment: Experiment
    params: Any
    step: int
    workdir: Path
    averaged: int = 1
    """The number of checkpoints that the parameters are the mean of."""

    def evaluation(self, decoding: DecodingConfig | None = None, seed: int | None = None) -> Evaluation:
        """Build the programs of scores and generation, with the run's own settings of decoding or with others."""
        config = self.experiment.config
        return Evaluation(
            self.experiment.model,
            self.experiment.task,
            decoding or config.decoding,
            config.seed if seed is None else seed,
        )

    def answers(self, texts: list[str], decoding: DecodingConfig | None = None, seed: int | None = None) -> list[Any]:
        """Generate the token ids of each answer, up to and including its end token."""
        rows = self.evaluation(decoding, seed).answers(self.params, texts)
        return [self.experiment.task.up_to_end(row) for row in rows]

    def check(self, texts: list[str], answer: int | None = None) -> None:
        """Raise a UserError for a text that the model cannot read; warn of characters that training never contained.

        Args:
            answer: maximum length of the answer (tokens); None: by the run's settings.
        """
        task, config = self.experiment.task, self.experiment.config.model
        answer = answer or self.experiment.config.decoding.max_new_tokens or task.max_answer_length
        tokenizer = task.tokenizers.source
        read = texts if task.mask_marker is None else [text.replace(task.mask_marker, "") for text in texts]
        known = {c: tokenizer.unknown not in tokenizer.encode(c) for c in set("".join(read))}
        unknown = sorted(c for c, is_known in known.items() if not is_known)
        if unknown:
            shown = " ".join(unknown[:20])
            line = f"these characters were in no training text and are read as unknown: {shown}"
            print(f"warning: {line}", file=sys.stderr)
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise problem(f"text {number} is empty", expected="at least one character that is no space")
        for number, tokens in enumerate(task.read(texts), start=1):
            length = task.sequence_length(tokens, answer)
            if length > LONGEST * task.max_sequence_length():
                raise problem(
                    f"text {number} is far longer than anything in training",
                    got=f"{length} tokens with its answer",
                    expected=f"at most {LONGEST} x {task.max_sequence_length()}",
                    do="Shorten it.",
                )
            if POSITIONS[config.position].adds == "table" and length > config.max_length:
                raise problem(
                    f"text {number} is longer than the model's table of learned positions",
                    got=f"{length} tokens with its answer",
                    expected=f"at most model.max_length = {config.max_length}",
                    do="Shorten it, or write fewer new tokens.",
                )


def open_run(
    workdir: str,
    checkpoint: str = "best",
    average_last: int | None = None,
    *,
    read_data: bool = True,
    trust_code: bool = False,
    paths: Sequence[tuple[str, str]] = (),
) -> Run:
    """Read a run from its working directory.

    Args:
        checkpoint: "best", "last" or a step.
        average_last: number of last checkpoints to average in place of `checkpoint`; None: by the run's settings (the
            best one where fewer than two count), 1: none are averaged.
        read_data: False where texts are answered and no split is needed: the files of the data may be gone.
        trust_code: consent to run code that the run's config.json names.
        paths: new places of data that has moved: names of settings, such as data.path, and their texts.

    Raises:
        UserError: no run there, code without consent, no such checkpoint, none that can be read, a step and an average
            at once, or data that has changed.
    """
    path = Path(workdir)
    refuse_unwritable_name(path)
    config, record = stored_config(path, trust_code=trust_code, paths=paths)
    step = {"best": "best", "last": None}.get(checkpoint, checkpoint)
    if isinstance(step, str) and step != "best":
        if not step.isdecimal():
            raise problem("unknown checkpoint", got=repr(checkpoint), expected="best, last or a step")
        step = int(step)
        if average_last is not None and average_last > 1:
            raise problem(
                "--checkpoint names one step and --average_last asks for a mean of the last ones",
                got=f"step {step}, {average_last} checkpoints",
                do="Give one of them.",
            )
    run_data = require_run_data(path, config)
    refuse_other_vocabulary(path, config, run_data.tokenizers.size)
    with origin_named(path):
        experiment = set_up(config, run_data, read_data=read_data)
    if read_data:
        now = experiment.task.splits.fingerprint
        refuse_other_data(path, record.get("data", now), now)
        refuse_other_metadata(path, run_data.metadata, experiment.task.metadata)
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    count = average_last or 1
    if average_last is None and checkpoint == "best":
        count = config.training.average_last
    best = experiment.config.training.output.best
    with Checkpoints(
        path / "checkpoints",
        Retention.of(config.training),
        best,
        experiment.task.metrics[best].mode,
        read_only=True,
        print_line=_note,
    ) as saved:
        if average_last is None and count > 1 and len(saved.retention.counted(saved.steps())) < 2:
            line = (
                f"fewer than 2 checkpoints to average (training.average_last = {count}); the best one is used instead"
            )
            _note(line)
            count = 1
        if count > 1:
            mean = average(saved, example, count)
            return Run(experiment, mean.state.evaluated_params, mean.step, path, len(mean.extra["averaged"]))
        found = saved.restore(example, step)
    return Run(experiment, found.state.evaluated_params, found.step, path)


def _note(line: str) -> None:
    """Print a remark beside the answers, which may go to a file."""
    print(f"note: {line}", file=sys.stderr)


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
    words = " ".join(example.text[: 4 * SHOWN].split())[:SHOWN]
    tokens = task.tokenizers.source.encode(words)
    for count in range(min(len(tokens), SHOWN, task.settings.config.context // 2), 0, -1):
        text = task.tokenizers.source.decode(tokens[:count]).rstrip(REPLACEMENT)  # of a character that is cut
        if task.mask_marker is not None:
            text = f"{text[: len(text) // 2]}{task.mask_marker}{text[len(text) // 2 + 1 :]}"
        if text.strip() and _fits(experiment, text):
            return text
    return None


def _fits(experiment: Experiment, text: str) -> bool:
    """Return whether a text with its answer is short enough for the model; without a limit any of the data is."""
    task, limit = experiment.task, experiment.config.model.max_length
    answer = experiment.config.decoding.max_new_tokens or task.max_answer_length
    (tokens,) = task.read([text])
    fillable = len(tokens) <= answer or task.mask_marker is None or not task.fixed_answer_length
    return fillable and (limit is None or task.sequence_length(tokens, answer) <= limit)


def draw_run(experiment: Experiment, params: Any, step: int, workdir: Path) -> dict[str, Path]:
    """Draw the pictures at the end of training: learning curves, and the attention weights of an example."""
    pictures = {"curves": workdir / "plots" / "curves.png"}
    task = experiment.task
    loss, score = task.names["loss"], experiment.config.training.output.best
    score = score if score != loss else task.names["accuracy"]
    save(
        curves(
            series(workdir, loss),
            series(workdir, score),
            loss_label=f"{loss} ({task.metrics[loss].unit})",
            score_label=f"{score} ({task.metrics[score].unit})",
        ),
        pictures["curves"],
    )
    stacks = experiment.model.stacks
    if len(stacks) == 2 and "cross" not in stacks["decoder"]:
        return pictures
    text = example_text(experiment)
    if text is None:
        print(f"no picture of the attention: {NO_EXAMPLE}")
        return pictures
    pictures["attention"] = workdir / "plots" / "attention.png"
    draw_attention(Run(experiment, params, step, workdir), text, pictures["attention"])
    return pictures


def series(workdir: Path, metric: str) -> dict[str, tuple[list[int], list[float]]]:
    """Read a metric's curves: split -> (steps, values)."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in metrics.read(workdir):
        if metric in line and line["split"] in ("train", "validation"):
            steps, values = found.setdefault(line["split"], ([], []))
            steps.append(line["step"])
            values.append(line[metric])
    return found


def answer_text(run: Run, text: str) -> tuple[Any, str]:
    """Compute the answer to a text: the generated ids, none for a classifier, and the answer in words."""
    task = run.experiment.task
    if task.classes is None:
        (ids,) = run.answers([text])
        return ids, task.answer(text, ids)
    (probabilities,) = run.evaluation().probabilities(run.params, [text])
    return np.zeros(0, np.int32), labels_in_words(task.classes, probabilities)


def labels_in_words(classes: tuple[str, ...], probabilities: np.ndarray, most: int = 3) -> str:
    """Format the likeliest labels with their probabilities, the likeliest first."""
    order = np.argsort(-probabilities)[:most]
    return ", ".join(f"{classes[i]} {probabilities[i]:.1%}" for i in order)


def draw_attention(run: Run, source: str, path: Path, layer: int = -1) -> str:
    """Draw the attention weights of the answer to `source` as a PNG; return the answer in words."""
    ids, answer = answer_text(run, source)
    task = run.experiment.task
    drawn = attention_map(run.experiment.model, run.params, task, source, ids)
    layers = len(drawn.weights_LNTS)
    if not -layers <= layer < layers:
        raise problem("no such layer", got=layer, expected=f"{-layers} to {layers - 1}; -1 is the last")
    number = layer % layers
    figure = attention_maps(
        drawn.weights_LNTS[number],
        readable_tokens(drawn.answer_tokens),
        readable_tokens(drawn.source_tokens),
        title=f"{drawn.activation.replace('*', str(number))}, step {run.step}",
        query_label="answer" if task.generates else "query",
        key_label="source" if task.generates else "key",
        font_family=font_for("".join(drawn.answer_tokens + drawn.source_tokens)),
    )
    save(figure, path)
    return answer
