"""Weight tying: one table for the embedding of tokens and for the logits, or one each.

    tied      logits = h E^T            Press and Wolf 2017, arXiv:1608.05859; Inan et al. 2017, arXiv:1611.01462
    untied    logits = h W,  W: D -> V

Two tables have V D parameters more. So there are two models without tying: of the same width in all parts, and with a
feed-forward so much narrower that it has as many parameters as the tied one. Tokens are bytes, V = 256.
"""

import dataclasses
import functools

import numpy as np
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AS_GOOD
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import curve, even, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.frame.training import number_of_parameters
from experiments.studies.parts import text
from transformer import Model
from transformer.schema import at_least, setting

TIED, UNTIED, EQUAL = ARMS = ("tied", "untied", "untied, as many parameters")
LAYERS, MARGIN = 2, 0.02
"""Layers of all models; least difference that matters (nats per byte)."""
UNIT = Text("nats per byte", "奈特每字节")
TABLES = ("model.tie_embeddings", "model.token_head.tied")


@dataclasses.dataclass(frozen=True)
class TyingSettings(TrainedSettings):
    """Weight tying of embedding and output: python -m experiments.studies tying --width=32"""

    width: int = setting(64, "model width D, a multiple of 8", check=at_least(8, MOST))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def model_of(name: str, width: int) -> Model:
    """Build the model of an arm."""

    def build(tied: bool, feed_forward: int) -> Model:
        shape = dict(vocab_size=text.VOCABULARY, width=width, num_heads=4, num_layers=LAYERS, position="rotary")
        return transformer.build(
            dict(architecture="decoder_only", tie_embeddings=tied, feed_forward_width=feed_forward, **shape)
        )

    own = build(name == TIED, 4 * width)
    if name != EQUAL:
        return own
    more = number_of_parameters(own) - number_of_parameters(build(True, 4 * width))
    return build(False, max(4 * width - round(more / (LAYERS * (2 * width + 1))), 1))


def trainee(settings: TyingSettings, name: str) -> Trainee:
    """Make what an arm trains."""
    return text.trainee(model_of(name, settings.width), settings)


def experiment(settings: TyingSettings) -> Experiment:
    """Return the arms and the claims."""
    arms = {name: functools.partial(trainee, settings, name) for name in ARMS}
    return Experiment(arms, questions(settings.width), settings.updates)


def questions(width: int) -> tuple[Question, ...]:
    """Return the claims on models of a width."""
    more = f"{text.VOCABULARY * width:,}"
    larger = Text(f"against untied, {more} parameters more", f"对不共享、多 {more} 个参数")
    equal = Text("against untied, as many parameters", "对不共享、参数量相同")
    cases = (
        Contrast(larger, (TIED,), (UNTIED,), TABLES, (TIED,)),
        Contrast(equal, (TIED,), (EQUAL,), (*TABLES, "model.feed_forward_width"), (TIED,)),
    )
    return (
        Question(
            1,
            Text("Weight tying makes small models better", "权重共享使小模型更好"),
            Text(
                f"With V = {text.VOCABULARY} and D = {width} a table is {more} parameters. In models of many tokens it "
                "is a larger part of all.",
                f"V = {text.VOCABULARY}、D = {width} 时一张表有 {more} 个参数。词元更多的模型中它所占的比例更大。",
            ),
            MARGIN,
            cases,
            unit=UNIT,
        ),
        Question(
            2,
            Text("Weight tying saves parameters at no cost", "权重共享节省参数而没有损失"),
            Text(
                "Measured at as many updates, each model at its best learning rate.",
                "在相同更新次数下测量，各模型用其最佳学习率。",
            ),
            MARGIN,
            cases[:1],
            kind=AS_GOOD,
            unit=UNIT,
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw the held-out loss of each arm, and against the number of updates."""
    trained = {name: row for name, row in numbers["trained"].items() if row.get("runs")}
    figure, (axes,) = panels(2, width=4.4)
    last = {name: trained[name]["runs"][max(trained[name]["runs"], key=int)] for name in ARMS if name in trained}
    names = {name: f"{name}\n{trained[name]['parameters']:,} parameters" for name in last}
    if last:
        points(axes[0], *even({names[name]: run["loss_R"] for name, run in last.items()}))
    for i, name in enumerate(ARMS):
        if name in last:
            own = last[name]["curve"]
            curve(axes[1], own["updates"], np.asarray(own["loss_PR"], float), name, i)
    finish(axes[0], "after the most updates", "held-out loss (nats per byte)", "")
    finish(axes[1], "during training", "updates", "held-out loss (nats per byte)", legend=bool(last))
    return figure


TYING = Study(
    title=Text("Weight tying of embedding and output", "词嵌入与输出层的权重共享"),
    settings=TyingSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "claims": (2,)},
)
