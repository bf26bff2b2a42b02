"""Queries, keys and values: three projections of the same rows, or two of them shared, at equal parameters.

The ways are those of `parts.shared_projections`: a model that shares a projection has a wider feed-forward for it.
With Q = K the scores of two tokens are the same both ways but for their positions (the study `symmetry` has the exact
part); a causal mask and the softmax of each row still make the weights differ.
"""

import dataclasses
import functools

import numpy as np
from matplotlib.figure import Figure

from experiments.comparing.decision import AS_GOOD
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import curve, even, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts import text
from experiments.studies.parts.shared_projections import KEY_VALUE, QUERY_KEY, THREE, WAYS, model_of
from transformer.schema import at_least, setting

HEADS, LAYERS, MARGIN = 4, 2, 0.02
"""Heads and layers of all models; least difference that matters (nats per byte)."""
UNIT = Text("nats per byte", "奈特每字节")
CHANGES = ("task.way", "model.feed_forward_width")
SHARING = {QUERY_KEY: Text("Q = K", "Q = K"), KEY_VALUE: Text("K = V", "K = V")}


@dataclasses.dataclass(frozen=True)
class QkvSettings(TrainedSettings):
    """Projections of queries, keys and values, shared or not: python -m experiments.studies qkv --width=32"""

    width: int = setting(64, "model width D, a multiple of 8", check=at_least(8, MOST))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def trainee(settings: QkvSettings, way: str) -> Trainee:
    """Make what is trained with a row of SHARED."""
    D = settings.width
    model = model_of(way, heads=HEADS, vocab_size=text.VOCABULARY, num_layers=LAYERS, width=D, feed_forward_width=4 * D)
    return text.trainee(model, settings, side="source", task={"way": way})


def experiment(settings: QkvSettings) -> Experiment:
    """Return an arm for each way, and the claims."""
    return Experiment({way: functools.partial(trainee, settings, way) for way in WAYS}, QUESTIONS, settings.updates)


def against(way: str) -> Contrast:
    """Return the case in which three projections are compared with a way of sharing."""
    name = Text(*(f"{mark}{own}" for mark, own in zip(("three against ", "三个投影对 "), SHARING[way], strict=True)))
    return Contrast(name, (THREE,), (way,), CHANGES, (THREE,))


QUESTIONS = (
    Question(
        1,
        Text(
            "Attention needs three projections: one each for queries, keys and values",
            "注意力需要三个投影：查询、键、值各一个",
        ),
        Text(
            "The models that share a projection have as many parameters, in a wider feed-forward. Rotary positions are "
            "applied after the projection, so with Q = K scores still depend on the order.",
            "共享投影的模型参数量相同，多出的参数在更宽的前馈网络中。旋转位置编码在投影之后，"
            "因此 Q = K 时分数仍依赖先后次序。",
        ),
        MARGIN,
        tuple(against(way) for way in SHARING),
        unit=UNIT,
    ),
    Question(
        2,
        Text("A projection can be shared at no cost", "可以共享一个投影而没有损失"),
        Text(
            "At equal parameters; what a shared projection saves in memory and time is not counted.",
            "参数量相同时比较；共享投影节省的内存和时间不计。",
        ),
        MARGIN,
        tuple(Contrast(SHARING[way], (way,), (THREE,), CHANGES) for way in SHARING),
        kind=AS_GOOD,
        unit=UNIT,
    ),
)
"""The claims; all of them are fixed before the runs."""


def draw(numbers: Numbers) -> Figure:
    """Draw the held-out loss of each way, and against the number of updates."""
    trained = {way: row["runs"] for way, row in numbers["trained"].items() if row.get("runs")}
    figure, (axes,) = panels(2, width=4.0)
    last = {way: trained[way][max(trained[way], key=int)] for way in WAYS if way in trained}
    if last:
        points(axes[0], *even({way: run["loss_R"] for way, run in last.items()}))
    for i, way in enumerate(WAYS):
        if way in last:
            own = last[way]["curve"]
            curve(axes[1], own["updates"], np.asarray(own["loss_PR"], float), way, i)
    finish(axes[0], "after the most updates, at equal parameters", "held-out loss (nats per byte)", "")
    finish(axes[1], "during training", "updates", "held-out loss (nats per byte)", legend=bool(last))
    return figure


QKV = Study(
    title=Text(
        "Projections of queries, keys and values: three, or one of them shared",
        "查询、键、值的投影：三个，或其中两个共享",
    ),
    settings=QkvSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "claims": (1,)},
)
