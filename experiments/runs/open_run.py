"""A finished or running experiment, read back from its working directory."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import settings
from experiments.data.examples import Document, Pair
from experiments.data.tokenizers.tokens import REPLACEMENT
from experiments.runs.attention_maps import attention_map
from experiments.runs.pictures import easy_to_read, font_for, readable_tokens, save
from experiments.runs.run_data import require_run_data
from experiments.storage import metrics
from experiments.storage.averaging import average
from experiments.storage.checkpoints import Checkpoints
from experiments.storage.workdir import read_record, refuse_other_data, refuse_other_facts
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment, set_up
from transformer.decoding import DecodingConfig
from transformer.errors import problem
from transformer.inspection.plots import attention_maps, curves
from transformer.nn.positions import POSITIONS

LONGEST = 16
"""A text of the user's own may be this many times longer than the data; memory grows with the square."""

SHOWN = 40
"""Of a document, in the picture at the end of training: characters, and tokens."""

NO_EXAMPLE = "no text of the held-out data is short enough for the model with its answer"


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with trained parameters (the average where there is one)."""

    experiment: Experiment
    params: Any
    step: int
    workdir: Path
    averaged: int = 1
    """How many checkpoints the parameters are the mean of."""

    def evaluation(self, decoding: DecodingConfig | None = None, seed: int | None = None) -> Evaluation:
        """The programs that score and write, by the run's own settings of decoding or by others."""
        config = self.experiment.config
        return Evaluation(
            self.experiment.model,
            self.experiment.task,
            decoding or config.decoding,
            config.seed if seed is None else seed,
        )

    def answers(self, texts: list[str], decoding: DecodingConfig | None = None, seed: int | None = None) -> list[Any]:
        """The token ids of each answer, up to and including its end token."""
        rows = self.evaluation(decoding, seed).answers(self.params, texts)
        return [self.experiment.task.up_to_end(row) for row in rows]

    def check(self, texts: list[str], answer: int | None = None) -> None:
        """Raises a UserError for a text that the model cannot take; warns of characters that it has never seen.

        Args:
            answer: most tokens that are written; None: as the run's settings say.
        """
        task, config = self.experiment.task, self.experiment.config.model
        answer = answer or self.experiment.config.decoding.max_new_tokens or task.max_answer_length
        tokenizer = task.tokenizers.source
        read = texts if task.mask_marker is None else [text.replace(task.mask_marker, "") for text in texts]
        known = {c: tokenizer.unknown not in tokenizer.encode(c) for c in set("".join(read))}
        unknown = sorted(c for c, is_known in known.items() if not is_known)
        if unknown:
            shown = " ".join(unknown[:20])
            print(f"warning: training never showed these characters, which read as unknown: {shown}", file=sys.stderr)
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise problem(f"text {number} is empty", expected="something to read")
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


def open_run(workdir: str, checkpoint: str = "best", average_last: int | None = None, *, read_data: bool = True) -> Run:
    """Reads a working directory.

    Args:
        checkpoint: "best", "last" or a step.
        average_last: the mean of so many of the last checkpoints in place of `checkpoint`; None: as the run's settings
            say (the best one where fewer than two count), 1: no.
        read_data: False where texts are answered and no split is needed: the files of the data may be gone.

    Raises:
        UserError: no run there, no such checkpoint, none that can be read, a step and an average at once, or the data
            is not what it was.
    """
    record = read_record(workdir)
    config = settings.from_json_dict(record["config"])
    path = Path(workdir)
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
    run_data = require_run_data(path)
    refuse_other_vocabulary(path, config, run_data.tokenizers.size)
    experiment = set_up(config, run_data, read_data=read_data)
    if read_data:
        now = experiment.task.splits.fingerprint
        refuse_other_data(path, record.get("data", now), now)
        refuse_other_facts(path, run_data.metadata, experiment.task.metadata)
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    output, count = config.training.output, average_last or 1
    if average_last is None and checkpoint == "best":
        count = config.training.average_last
    best = experiment.config.training.output.best
    with Checkpoints(
        path / "checkpoints",
        output.keep_last,
        best,
        experiment.task.metrics[best].mode,
        average_every=output.average_every,
        last_step=config.training.steps,
        read_only=True,
    ) as saved:
        if average_last is None and count > 1 and len(saved.retention.counted(saved.steps())) < 2:
            line = (
                f"fewer than 2 checkpoints to average (training.average_last = {count}); the best one is used instead"
            )
            print(f"note: {line}", file=sys.stderr)
            count = 1
        if count > 1:
            mean = average(saved, example, count)
            return Run(experiment, mean.state.evaluated_params, mean.step, path, len(mean.extra["averaged"]))
        found = saved.restore(example, step)
    return Run(experiment, found.state.evaluated_params, found.step, path)


def refuse_other_vocabulary(path: Path, config: Any, size: int) -> None:
    """Raises a UserError where the tokenizers have more ids than the checkpoint's model."""
    if size > config.model.vocab_size:
        raise problem(
            f"the vocabulary of {path / 'tokenizer.json'} does not fit the checkpoint",
            got=f"{size:,} tokens",
            expected=f"at most model.vocab_size = {config.model.vocab_size:,}",
            do="Bring back the tokenizer.json that the run wrote.",
        )


def example_text(experiment: Experiment) -> str | None:
    """A text of the data to look at, of the test split where there is one, that the fonts here can show if any is.

    None where no text is short enough for the model with its answer.
    """
    splits = experiment.task.splits
    asked = (_askable(experiment, example) for example in (splits.test or splits.validation)[:500])
    found = [text for text in asked if text is not None]
    short = next(filter(easy_to_read, found), found[0] if found else None)
    return next((text for text in found if len(text) > 20 and easy_to_read(text)), short)


def _askable(experiment: Experiment, example: Pair | Document) -> str | None:
    """The text of an example as it can be asked about, a document's first tokens; None if the model cannot hold it."""
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
    """Whether the model can hold a text with its answer; without a limit it can hold any of the data."""
    task, limit = experiment.task, experiment.config.model.max_length
    answer = experiment.config.decoding.max_new_tokens or task.max_answer_length
    (tokens,) = task.read([text])
    guessed = len(tokens) <= answer or task.mask_marker is None or not task.fixed_answer_length
    return guessed and (limit is None or task.sequence_length(tokens, answer) <= limit)


def draw_run(experiment: Experiment, params: Any, step: int, workdir: Path) -> dict[str, Path]:
    """The pictures at the end of training: curves, and the attention of an example that the fonts here can show."""
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
    """A metric's curves: split -> (steps, values)."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in metrics.read(workdir):
        if metric in line and line["split"] in ("train", "validation"):
            steps, values = found.setdefault(line["split"], ([], []))
            steps.append(line["step"])
            values.append(line[metric])
    return found


def answer_text(run: Run, text: str) -> tuple[Any, str]:
    """What the model says of a text: the ids that it writes, none for a classifier, and the answer in words."""
    task = run.experiment.task
    if task.classes is None:
        (ids,) = run.answers([text])
        return ids, task.answer(text, ids)
    (probabilities,) = run.evaluation().probabilities(run.params, [text])
    return np.zeros(0, np.int32), labels_in_words(task.classes, probabilities)


def labels_in_words(classes: tuple[str, ...], probabilities: np.ndarray, most: int = 3) -> str:
    """The likeliest labels with their probabilities, the likeliest first."""
    order = np.argsort(-probabilities)[:most]
    return ", ".join(f"{classes[i]} {probabilities[i]:.1%}" for i in order)


def draw_attention(run: Run, source: str, path: Path, layer: int = -1) -> str:
    """Draws where the model looks while it answers `source`, to a PNG; returns the answer in words."""
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
