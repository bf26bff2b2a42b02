"""A finished or running experiment, read back from its working directory."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax

from experiments import settings
from experiments.attention_maps import attention_map
from experiments.data import tokenizers
from experiments.pictures import easy_to_read, font_for, readable_tokens, save
from experiments.training import reporting
from experiments.training.checkpoints import Checkpoints
from experiments.training.config import BEST_MODE
from experiments.training.evaluation import Evaluation
from experiments.training.experiment import Experiment, set_up
from experiments.training.workdir import read_config
from transformer.errors import problem
from transformer.inspection.plots import attention_maps, curves
from transformer.nn.positions import POSITIONS

TOKENIZER = "tokenizer.json"

LONGEST = 16
"""A text of the user's own may be this many times longer than the data; memory grows with the square."""


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with trained parameters (the average where there is one)."""

    experiment: Experiment
    params: Any
    step: int
    workdir: Path

    def answers(self, sources: list[str]) -> list[Any]:
        """The token ids of each answer, up to and including its end token."""
        task = self.experiment.task
        evaluation = Evaluation(self.experiment.model, task, self.experiment.config.decoding)
        return [task.up_to_end(row) for row in evaluation.answers(self.params, sources)]

    def check(self, texts: list[str]) -> None:
        """Raises a UserError for a text that the model cannot take; warns of characters that it has never seen."""
        task, config = self.experiment.task, self.experiment.config.model
        answer = self.experiment.config.decoding.max_new_tokens or task.slots
        unknown = sorted({c for text in texts for c in text if task.tokenizer.unknown in task.tokenizer.encode(c)})
        if unknown:
            shown = " ".join(unknown[:20])
            print(f"warning: training never showed these characters, which read as unknown: {shown}", file=sys.stderr)
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise problem(f"text {number} is empty", expected="something to read")
            length = task.frame.capacity(len(task.tokenizer.encode(text)), answer)
            if length > LONGEST * task.longest:
                raise problem(
                    f"text {number} is far longer than anything in training",
                    got=f"{length} tokens with its answer",
                    expected=f"at most {LONGEST} x {task.longest}",
                    do="Shorten it.",
                )
            if POSITIONS[config.position].adds == "table" and length > config.max_length:
                raise problem(
                    f"text {number} is longer than the model's table of learned positions",
                    got=f"{length} tokens with its answer",
                    expected=f"at most model.max_length = {config.max_length}",
                    do="Shorten it.",
                )


def open_run(workdir: str, checkpoint: str = "best") -> Run:
    """Reads a working directory.

    Args:
        checkpoint: "best", "last" or a step.

    Raises:
        UserError: no run there, no such checkpoint, or none that can be read.
    """
    config = settings.from_json_dict(read_config(workdir))
    path = Path(workdir)
    step = {"best": "best", "last": None}.get(checkpoint, checkpoint)
    if isinstance(step, str) and step != "best":
        if not step.isdecimal():
            raise problem("unknown checkpoint", got=repr(checkpoint), expected="best, last or a step")
        step = int(step)
    experiment = set_up(config, tokenizers.from_json(_read_tokenizer(path)))
    example = jax.eval_shape(experiment.initial_state, experiment.hyperparameters)
    output = config.training.output
    with Checkpoints(
        path / "checkpoints", output.keep_last, output.best, BEST_MODE[output.best], read_only=True
    ) as saved:
        found = saved.restore(example, step)
    return Run(experiment, found.state.evaluated_params, found.step, path)


def _read_tokenizer(path: Path) -> str:
    try:
        return (path / TOKENIZER).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        do = "Run the command that trained it once more: it writes the file."
        raise problem(f"{path} holds no {TOKENIZER}", do=do) from error


def draw_run(experiment: Experiment, params: Any, step: int, workdir: Path) -> dict[str, Path]:
    """The pictures at the end of training: curves, and the attention of a test example that the fonts here can show."""
    pictures = {"curves": workdir / "plots" / "curves.png"}
    save(curves(series(workdir, "loss"), series(workdir, "exact_match")), pictures["curves"])
    if experiment.model.config.architecture == "seq2seq" and not experiment.model.config.cross_attention:
        return pictures
    pictures["attention"] = workdir / "plots" / "attention.png"
    examples = [pair.source for pair in experiment.task.splits.test[:500]]
    shown = next((text for text in examples if len(text) > 20 and easy_to_read(text)), examples[0])
    draw_attention(Run(experiment, params, step, workdir), shown, pictures["attention"])
    return pictures


def series(workdir: Path, metric: str) -> dict[str, tuple[list[int], list[float]]]:
    """A metric's curves: split -> (steps, values)."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in reporting.read(workdir):
        if metric in line and line["split"] in ("train", "validation"):
            steps, values = found.setdefault(line["split"], ([], []))
            steps.append(line["step"])
            values.append(line[metric])
    return found


def draw_attention(run: Run, source: str, path: Path, layer: int = -1) -> str:
    """Draws where the model looks while it reads `source` aloud, to a PNG; returns the answer's text."""
    (ids,) = run.answers([source])
    task = run.experiment.task
    drawn = attention_map(run.experiment.model, run.params, task, source, ids)
    layers = len(drawn.weights_LNTS)
    if not -layers <= layer < layers:
        raise problem("no such layer", got=layer, expected=f"{-layers} to {layers - 1}; -1 is the last")
    number = layer % layers
    answer = task.decode(ids)
    figure = attention_maps(
        drawn.weights_LNTS[number],
        readable_tokens(drawn.answer_tokens),
        readable_tokens(drawn.source_tokens),
        title=f"{drawn.activation.replace('*', str(number))}, step {run.step}",
        query_label="answer",
        key_label="source",
        font_family=font_for("".join(drawn.answer_tokens + drawn.source_tokens)),
    )
    save(figure, path)
    return answer
