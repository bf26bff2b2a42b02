"""Pictures of a run: its learning curves, and the attention weights of an answer.

A picture is drawn after the result is printed; at the end of training, one that fails is a line and no end of the run.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.runs.attention_maps import attention_map
from experiments.runs.open_run import NO_EXAMPLE, answer_text, example_text
from experiments.runs.pictures import attempt, font_for, readable_tokens, save
from experiments.runs.trained import TrainedExperiment
from experiments.storage import metrics
from transformer import Model
from transformer.errors import problem
from transformer.inspection.plots import attention_maps, curves
from transformer.models.sites import of_layers

CURVES = {"train": "train: mean since the last point", "validation": "validation"}
"""Split -> its name in the picture of the curves; that of a training with dropout has it added."""


def draw_run(run: TrainedExperiment) -> dict[str, Path]:
    """Draw the pictures at the end of training; return the path of each that could be drawn."""
    folder = Path(run.workdir) / "plots"
    pictures = {"curves": (_draw_curves, folder / "curves.png")}
    if attention_layers(run.experiment.model):
        if example_text(run.experiment) is None:
            print(f"no picture of the attention: {NO_EXAMPLE}")
        else:
            pictures["attention"] = (_draw_example, folder / "attention.png")
    return {name: path for name, (draw, path) in pictures.items() if attempt(lambda d=draw, p=path: d(run, p), path)}


def _draw_curves(run: TrainedExperiment, path: Path) -> None:
    save(curves_figure(run), path)


def curves_figure(run: TrainedExperiment) -> Figure:
    """Draw the learning curves of the loss, and of the score that selects the best checkpoint."""
    task = run.experiment.task
    loss, score = task.names["loss"], run.experiment.config.training.output.best
    score = score if score != loss else task.names["accuracy"]
    return curves(
        *(series(run.workdir, metric, bool(run.experiment.config.model.dropout)) for metric in (loss, score)),
        loss_label=f"{loss} ({task.metrics[loss].unit})",
        score_label=f"{score} ({task.metrics[score].unit})",
    )


def series(workdir: Path, metric: str, dropout: bool = False) -> dict[str, tuple[list[int], list[float]]]:
    """Read a metric's curves: split, and what its values are -> (steps, values)."""
    names = {**CURVES, "train": CURVES["train"] + ", dropout on"} if dropout else CURVES
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line in metrics.read(workdir):
        if metric in line and line["split"] in CURVES:
            steps, values = found.setdefault(names[line["split"]], ([], []))
            steps.append(line["step"])
            values.append(line[metric])
    return found


def _draw_example(run: TrainedExperiment, path: Path) -> None:
    text = example_text(run.experiment)
    ids, _ = answer_text(run, text)
    draw_attention(run, text, ids, path)


def attention_layers(model: Model) -> int:
    """Return the number of layers whose attention can be drawn: cross-attention where there is a source beside."""
    stacks = model.stacks
    if len(stacks) == 2:
        return stacks["decoder"].get("cross", 0)
    return next(iter(stacks.values())).get("self", 0) if "self.weights" in of_layers(model.config) else 0


def check_layer(model: Model, layer: int) -> None:
    """Raise a UserError where the attention that is drawn has no such layer; a negative one counts from the end."""
    layers = attention_layers(model)
    whole = isinstance(layer, int) and not isinstance(layer, bool)
    if layers and not (whole and -layers <= layer < layers):  # a model without attention has another error
        raise problem(
            "no such layer",
            got=layer if whole else repr(layer),
            expected=f"0 to {layers - 1}, or negative, counted from the end: -1 is the last",
        )


def draw_attention(run: TrainedExperiment, source: str, answer_ids: np.ndarray, path: Path, layer: int = -1) -> None:
    """Draw the attention weights of the answer to `source` as a PNG.

    Args:
        layer: one that `check_layer` accepts.

    Raises:
        UserError: the model has no attention that could be drawn.
        OSError: the file could not be written.
    """
    save(attention_figure(run, source, answer_ids, layer), path)


def attention_figure(run: TrainedExperiment, source: str, answer_ids: np.ndarray, layer: int = -1) -> Figure:
    """Draw the attention weights of the answer to `source`; for the arguments and errors, see `draw_attention`."""
    task = run.experiment.task
    drawn = attention_map(run.experiment.model, run.params, task, source, answer_ids)
    number = layer % len(drawn.weights_LNTS)
    title = f"{drawn.activation.replace('*', str(number))}, step {run.step}"
    if not drawn.all_keys:
        title += "\nrows need not add up to 1: other keys, such as the answer's own tokens, are left out"
    return attention_maps(
        drawn.weights_LNTS[number],
        readable_tokens(drawn.answer_tokens),
        readable_tokens(drawn.source_tokens),
        title=title,
        query_label="answer" if task.generates else "query",
        key_label="source" if task.generates else "key",
        font_family=font_for("".join(drawn.answer_tokens + drawn.source_tokens)),
    )
