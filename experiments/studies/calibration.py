"""Calibration: label smoothing, and the temperature of the softmax.

    smoothing ε      the target is 1 - ε for the label, and ε / V for every token     Szegedy et al. 2016, 1512.00567
    temperature τ    p = softmax(logits / τ), one number for a model                   Guo et al. 2017, 1706.04599

τ is fitted after training, on the held-out batches that also choose the learning rate; all that is reported is of other
held-out batches. The loss is convex in 1 / τ, so a few steps of Newton's method find the best one.

    ECE    Σ over bins of (share of the tokens in the bin) |accuracy - mean confidence|

The confidence is the greatest probability; there are BINS bins of one width. Müller et al. 2019, arXiv:1906.02629, find
that smoothing calibrates and that temperature does as well.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import EQUAL
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Reading, Trainee, stacked_batches
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text, same
from experiments.studies.parts import text
from transformer import Model
from transformer.ops.losses import cross_entropy
from transformer.schema import at_least, setting

SMOOTHINGS: dict[str, float | None] = {"ε = 0": None, "ε = 0.05": 0.05, "ε = 0.1": 0.1, "ε = 0.2": 0.2}
"""Label smoothing by arm."""
NONE, *SMOOTHED = SMOOTHINGS
MARGIN, CALIBRATED = 0.02, 0.01
"""Least differences that matter: of losses (nats per byte) and of calibration errors (share)."""
BINS, STEPS, COLDEST = 15, 12, 0.1
"""Bins of the confidence, steps of Newton's method, and least temperature; the greatest is its inverse."""
UNIT = Text("nats per byte", "奈特每字节")


@dataclasses.dataclass(frozen=True)
class CalibrationSettings(TrainedSettings):
    """Label smoothing before and after one fitted temperature: python -m experiments.studies calibration"""

    width: int = setting(64, "model width D, a multiple of 8", check=at_least(8, MOST))
    batch: int = setting(16, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def fitted_temperature(logits_nV: Float[Array, "n V"], labels_n: Int[Array, "n"]) -> Float[Array, ""]:
    """Fit the temperature of the least loss by Newton's method in its inverse.

    The derivative of the loss by 1 / τ is the mean over tokens of the expected logit less that of the label, and the
    second derivative the mean variance of the logits, both under the softmax.
    """
    of_label_n = jnp.take_along_axis(logits_nV, labels_n[:, None], axis=1)[:, 0]

    def step(inverse: Array, _: None) -> tuple[Array, None]:
        share_nV = jax.nn.softmax(inverse * logits_nV)
        mean_n = jnp.sum(share_nV * logits_nV, axis=1)
        variance_n = jnp.sum(share_nV * jnp.square(logits_nV - mean_n[:, None]), axis=1)
        change = jnp.mean(mean_n - of_label_n) / jnp.maximum(jnp.mean(variance_n), 1e-6)
        # At most a factor of two a step: far from the best one the quadratic is a poor guide.
        return jnp.clip(inverse - change, inverse / 2.0, inverse * 2.0).clip(COLDEST, 1.0 / COLDEST), None

    return 1.0 / jax.lax.scan(step, jnp.float32(1.0), None, length=STEPS)[0]


def calibration_error(logits_nV: Float[Array, "n V"], labels_n: Int[Array, "n"]) -> Float[Array, ""]:
    """Compute the expected calibration error of the greatest probability, with BINS bins of one width."""
    confidence_n = jnp.max(jax.nn.softmax(logits_nV), axis=1)
    right_n = (jnp.argmax(logits_nV, axis=1) == labels_n).astype(jnp.float32)
    bin_n = jnp.clip(jnp.ceil(confidence_n * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    gap = jax.ops.segment_sum(right_n - confidence_n, bin_n, BINS)
    return jnp.sum(jnp.abs(gap)) / len(labels_n)


def readings(model: Model, params: Any, choice: Any, test: Any) -> dict[str, Array]:
    """Compute the fitted temperature, the loss with it, and the calibration error without it and with it.

    Args:
        choice: batches on which the temperature is fitted, stacked, K first.
        test: batches of which the others are computed.
    """

    def predictions(batches: Any) -> tuple[Array, Array]:
        logits = jax.lax.map(lambda batch: model.apply(params, batch)["logits"], batches)
        return logits.reshape(-1, logits.shape[-1]), batches["labels"].reshape(-1)

    temperature = fitted_temperature(*predictions(choice))
    logits_nV, labels_n = predictions(test)
    scaled_nV = logits_nV / temperature
    return {
        "temperature": temperature,
        "fitted_loss": jnp.mean(cross_entropy(scaled_nV, labels_n)),
        "ece": calibration_error(logits_nV, labels_n),
        "fitted_ece": calibration_error(scaled_nV, labels_n),
    }


def trainee(settings: CalibrationSettings, smoothing: float | None) -> Trainee:
    """Make what is trained with a label smoothing."""
    D = settings.width
    shape = dict(vocab_size=text.VOCABULARY, num_layers=2, width=D, num_heads=4, feed_forward_width=4 * D)
    own = text.trainee(transformer.build(dict(architecture="decoder_only", position="rotary", **shape)), settings)
    choice, test = (stacked_batches(batches) for batches in (own.choice, own.test))
    return dataclasses.replace(
        own, smoothing=smoothing, extra=lambda model, params: readings(model, params, choice, test)
    )


def experiment(settings: CalibrationSettings) -> Experiment:
    """Return an arm for each smoothing, and the claims."""
    arms = {name: functools.partial(trainee, settings, smoothing) for name, smoothing in SMOOTHINGS.items()}
    return Experiment(arms, QUESTIONS, settings.updates)


def minus(name: str, lane: Mapping[str, Any]) -> float:
    """Return one of the readings with a minus sign: more is better."""
    return -float(lane["extra"][name])


def without_against(name: str) -> Contrast:
    """Return the case in which no smoothing is better than a row of SMOOTHINGS."""
    return Contrast(Text(f"ε = 0 against {name}", f"ε = 0 对 {name}"), (NONE,), (name,), ("smoothing",), (NONE,))


def against_none(name: str) -> Contrast:
    """Return the case of a row of SMOOTHINGS against no smoothing."""
    return Contrast(same(name), (name,), (NONE,), ("smoothing",))


QUESTIONS = (
    Question(
        1,
        Text("Label smoothing raises the loss on held-out text", "标签平滑会提高留出文本上的损失"),
        Text(
            "The loss is that of the labels, without smoothing. A smoothed model is trained to give every other token "
            "a share, and does so in the test too.",
            "这里的损失是标签本身的损失，不含平滑。平滑训练要求模型给其他词元一定概率，测试时它也这样做。",
        ),
        MARGIN,
        tuple(without_against(name) for name in SMOOTHED),
        unit=UNIT,
    ),
    Question(
        2,
        Text(
            "After one fitted temperature the loss with smoothing is the same as without",
            "拟合一个温度之后，有无标签平滑的损失相同",
        ),
        Text(
            "One number for a model can undo that all probabilities are too flat, and no more.",
            "每个模型一个数，只能消除所有概率整体过平的问题。",
        ),
        MARGIN,
        tuple(against_none(name) for name in SMOOTHED),
        kind=EQUAL,
        unit=UNIT,
        reading=Reading(
            functools.partial(minus, "fitted_loss"),
            Text("minus the held-out loss after temperature", "温度缩放后留出集损失取负"),
        ),
    ),
    Question(
        3,
        Text("Label smoothing calibrates a model", "标签平滑使模型校准"),
        Text(
            "It lowers the confidence. That calibrates a model that is too confident, and no other; whether one is so "
            "depends on how often it has seen its data.",
            "标签平滑降低置信度。这只能校准过于自信的模型；模型是否过于自信，取决于它反复见到同样数据的次数。",
        ),
        CALIBRATED,
        tuple(against_none(name) for name in SMOOTHED),
        unit=Text("share", "比例"),
        reading=Reading(
            functools.partial(minus, "ece"), Text("minus the calibration error (ECE)", "校准误差（ECE）取负")
        ),
    ),
)
"""The claims; all of them are fixed before the runs."""


def draw(numbers: Numbers) -> Figure:
    """Draw loss and calibration error of each smoothing before and after temperature, and the temperatures."""
    trained = {name: row["runs"] for name, row in numbers["trained"].items() if row.get("runs")}
    last = {name: trained[name][max(trained[name], key=int)] for name in SMOOTHINGS if name in trained}
    figure, (axes,) = panels(3, width=3.6)
    losses = {name: run["loss_R"] for name, run in last.items()}
    extra = {
        key: {name: run["extra"][key] for name, run in last.items()}
        for key in ("fitted_loss", "ece", "fitted_ece", "temperature")
    }
    series = ((losses, extra["fitted_loss"]), (extra["ece"], extra["fitted_ece"]), (extra["temperature"],))
    titles = (
        ("loss (circles), with temperature (squares)", "held-out loss (nats per byte)"),
        ("calibration (circles), with temperature (squares)", "ECE (share)"),
        ("fitted temperature", "temperature"),
    )
    for one, rows, (title, label) in zip(axes, series, titles, strict=True):
        for i, row in enumerate(rows):
            if row:
                points(one, *even(row), number=i)
        finish(one, title, label, "")
    return figure


CALIBRATION = Study(
    title=Text("Label smoothing, temperature and calibration", "标签平滑、温度与校准"),
    settings=CalibrationSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "claims": (1,)},
)
