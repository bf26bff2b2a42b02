"""Prefixes: one masked pass against training on all prefixes one by one, on the last row alone, and without a mask.

`parts.prefixes_exact` compares one masked pass with all prefixes, and shows that a row reads more than its bigram. The
models here are scored on the same task: the byte after a prefix, at every length that training had.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, TrainedSettings
from experiments.studies.frame.experiment import LOSS, Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text, against
from experiments.studies.frame.training import Sample
from experiments.studies.parts import prefixes_exact, text
from experiments.training.update import Batch, token_sums
from transformer import Model
from transformer.schema import at_least, setting

LENGTH, MARGIN = 32, 0.02
"""Bytes of a training window; least difference that matters (nats per byte)."""


@dataclasses.dataclass(frozen=True)
class PrefixesSettings(TrainedSettings):
    """One pass against all prefixes: python -m experiments.studies prefixes --updates=500"""

    width: int = setting(64, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "windows of 32 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)


def all_rows(sample: Sample) -> Sample:
    """Return the sampler as it is."""
    return sample


def last_row(sample: Sample) -> Sample:
    """Return a sampler of the same windows, with loss on the last row alone."""

    def changed(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "loss_weights": batch["loss_weights"].at[:, :-1].set(0.0)}

    return changed


def as_source(sample: Sample) -> Sample:
    """Return a sampler of the same windows for a model without a causal mask, whose rows attend to their own labels."""

    def changed(key: Array, data: Array) -> Batch:
        batch = sample(key, data)
        return {**batch, "source": batch["target"]}

    return changed


MASKED, LAST, UNMASKED = "all rows, causal mask", "last row only", "all rows, no mask"
CHINESE = {MASKED: "所有行，因果掩码", LAST: "只有最后一行", UNMASKED: "所有行，无掩码"}
ROWS: dict[str, tuple[Mapping[str, Any], Callable[[Sample], Sample]]] = {
    MASKED: ({"architecture": "decoder_only"}, all_rows),
    LAST: ({"architecture": "decoder_only"}, last_row),
    UNMASKED: ({"architecture": "encoder_only"}, as_source),
}
"""Settings of the model and change of the sampler, by training."""


def trainee(name: str, settings: PrefixesSettings) -> Trainee:
    """Make what a row of ROWS trains; it is scored on the byte after a prefix."""
    special, change = ROWS[name]
    shape = dict(vocab_size=text.VOCABULARY, width=settings.width, num_heads=4, num_layers=2, position="rotary")
    own = text.trainee(transformer.build({**shape, **special}), settings, length=LENGTH, task={"training": name})
    return dataclasses.replace(own, sample=change(own.sample), score=predicting)


def predicting(model: Model, params: Any, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Compute the nats of the byte after a prefix, which alone is read; window i has a prefix of 1 + i modulo T."""
    B, T = batch["target"].shape
    lengths_B = 1 + jnp.arange(B) % T
    before = jnp.arange(T) < lengths_B[:, None]
    tokens = jnp.where(before, batch["target"], 0)
    inputs = {"target": tokens, "source": tokens, "target_lengths": lengths_B, "source_lengths": lengths_B}
    weights = (jnp.arange(T) == lengths_B[:, None] - 1).astype(jnp.float32)
    sums = token_sums(model, params, {**inputs, "labels": batch["labels"], "loss_weights": weights})[1]
    return {LOSS: (sums["nats"], sums["tokens"])}


def experiment(settings: PrefixesSettings) -> Experiment:
    """Return the arms and the claims that they decide."""
    unit = Text("nats per byte", "奈特每字节")
    architecture = ("task.training", "model.architecture")

    def case(ours: str, others: str, changes: tuple[str, ...]) -> Contrast:
        return Contrast(against(ours, others, CHINESE), (ours,), (others,), changes, (MASKED,))

    last = Question(
        2,
        Text("It is enough to train on the last row alone", "只训练最后一行就够了"),
        Text(
            "Every other row is one more training example at no extra cost. A model that is trained at the last place "
            "alone has not learned to predict from shorter prefixes.",
            "其余每一行都是不增加成本的训练样本。只在最后位置训练的模型没有学会从更短的前缀预测。",
        ),
        MARGIN,
        (case(LAST, MASKED, ("task.training",)),),
        unit=unit,
        kind="as good",
    )
    unmasked = Question(
        4,
        Text("Without a mask training is as good", "不用掩码训练也一样好"),
        Text(
            "Without a mask each row contains its own label: the training loss falls to nearly 0, and nothing is "
            "learned "
            "about prediction.",
            "没有掩码时，每一行都含有自己的标签：训练损失降到接近 0，却没有学到任何预测能力。",
        ),
        MARGIN,
        (case(UNMASKED, MASKED, architecture),),
        unit=unit,
        kind="as good",
    )
    arms = {name: functools.partial(trainee, name, settings) for name in ROWS}
    return Experiment(arms, (last, unmasked), settings.updates)


def measure(settings: PrefixesSettings) -> Numbers:
    """Compare one masked pass with all prefixes."""
    return prefixes_exact.measure(prefixes_exact.PrefixesExactSettings())


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on one pass and on bigrams."""
    return prefixes_exact.judge(numbers)


def draw(numbers: Numbers) -> Figure:
    """Draw the comparison of one pass, and the losses on prefixes."""
    figure, grid = panels(2, width=4.4)
    prefixes_exact.draw_panel(grid[0, 0], numbers)
    runs = {name: row["runs"] for name, row in numbers.get("trained", {}).items() if row["runs"]}
    found = {name: next(iter(row.values()))["loss_R"] for name, row in runs.items()}
    if found:
        points(grid[0, 1], *even(found))
    finish(grid[0, 1], "the byte after a held-out prefix", "loss (nats per byte)", "")
    return figure


PREFIXES = Study(
    title=Text("One masked pass, all prefixes, and the last row alone", "一次带掩码的前向、所有前缀，以及只用最后一行"),
    settings=PrefixesSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0},
)
