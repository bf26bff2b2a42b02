"""Scaling: 1/sqrt(H), the variance of the scores, their softmax and its derivatives, and models trained with it.

`parts.scaling_exact` computes the statistics at the start. Three models with one wide head are trained: q·k / √H, q·k,
and q·k whose query projection starts at 1/√H of its size. The last has the scores of the first at the start, so it
separates what the factor does during training from what it does at the start.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts import scaling_exact, text
from transformer import Model
from transformer.schema import at_least, setting

SCALED, PLAIN, SMALL_START = "q·k / √H", "q·k", "q·k, W_q starts at 1/√H"
ARMS = {SCALED: ("scaled_dot", False), PLAIN: ("dot", False), SMALL_START: ("dot", True)}
"""Name -> value of model.score, and whether the query projection starts smaller."""
MARGIN = 0.02
"""Least difference that matters (nats per byte)."""


@dataclasses.dataclass(frozen=True)
class ScalingSettings(TrainedSettings):
    """The factor 1/√H: python -m experiments.studies scaling --head_width=64"""

    head_width: int = setting(256, "width H of the one head of the trained models", check=at_least(1, MOST))
    width: int = setting(64, "model width D", check=at_least(1, MOST))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


@dataclasses.dataclass(frozen=True)
class SmallQueries(Model):
    """A model whose query projections start at 1/√H of their usual size."""

    def init(self, key: Any, scale: float | Array = 1.0) -> dict[str, Any]:
        """Draw the parameters; see `Model.init`."""
        params = super().init(key, scale)
        leaves, structure = jax.tree_util.tree_flatten_with_path(params)
        factor = float(self.config.head_width or 1) ** -0.5
        changed = [x * factor if "query" in jax.tree_util.keystr(path) else x for path, x in leaves]
        return jax.tree.unflatten(structure, changed)


def trainee(name: str, settings: ScalingSettings) -> Trainee:
    """Make what is trained with a row of ARMS."""
    score, small = ARMS[name]
    shape = dict(num_layers=1, width=settings.width, num_heads=1, head_width=settings.head_width, position="alibi")
    model = transformer.build(dict(architecture="decoder_only", vocab_size=text.VOCABULARY, score=score, **shape))
    own: Callable[..., Model] = SmallQueries if small else type(model)
    return text.trainee(own(model.config, model.module), settings, task={"small_queries": small})


def experiment(settings: ScalingSettings) -> Experiment:
    """Return the three arms and the claim."""
    H = settings.head_width
    trains_worse = Question(
        3,
        Text("Without the factor a model trains worse", "没有这个因子，模型训练得更差"),
        Text(
            f"Measured with one head of H = {H}, each at its best learning rate. The second case compares models "
            "that are "
            "equal at the start: it shows what the factor does during training.",
            f"用一个 H = {H} 的头测量，各用其最佳学习率。第二种情形比较初始相同的模型，显示该因子在训练过程中的作用。",
        ),
        MARGIN,
        (
            Contrast(Text("with it against without", "有对无"), (SCALED,), (PLAIN,), ("model.score",)),
            Contrast(
                Text("with it against a small start", "有对较小初始值"),
                (SCALED,),
                (SMALL_START,),
                ("model.score", "task.small_queries"),
            ),
        ),
        unit=Text("nats per byte", "奈特每字节"),
    )
    return Experiment(
        {name: functools.partial(trainee, name, settings) for name in ARMS}, (trains_worse,), settings.updates
    )


def measure(settings: ScalingSettings) -> Numbers:
    """Compute the statistics at the start."""
    return scaling_exact.measure(scaling_exact.ScalingExactSettings())


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the start."""
    return scaling_exact.judge(numbers)


def draw(numbers: Numbers) -> Figure:
    """Draw the statistics at the start and, where models were trained, their losses at each number of updates."""
    runs = {name: row["runs"] for name, row in numbers.get("trained", {}).items() if row["runs"]}
    lengths = sorted({updates for row in runs.values() for updates in row}, key=int)
    exact = scaling_exact.PANELS
    figure, grid = panels(math.ceil((exact + len(lengths)) / 2), 2, width=3.7)
    axes = grid.ravel()
    scaling_exact.draw_panels(axes[:exact], numbers)
    for place, updates in zip(axes[exact:], lengths, strict=False):
        points(place, *even({name: row[updates]["loss_R"] for name, row in runs.items() if updates in row}))
        finish(place, f"trained, {int(updates):,} updates", "held-out loss (nats per byte)", "")
    for place in axes[exact + len(lengths) :]:
        place.remove()
    return figure


SCALING = Study(
    title=Text("The factor 1/√H: variance, saturation, derivatives, and training", "因子 1/√H：方差、饱和、导数与训练"),
    settings=ScalingSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "head_width": 64},
)
