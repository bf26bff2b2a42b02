"""Warm-up: post-norm and pre-norm with a rising learning rate at the start and without, in shallow and deep models.

    post    norm(x + f(x))       Vaswani et al. 2017, who warm up over 4,000 updates
    pre     x + f(norm(x))       Xiong et al. 2020, arXiv:2002.04745: "the warm-up stage can be removed"

"Needs" may be meant in two ways, and both are measured:

    best rate    each arm at the learning rate that is best for it: can another rate take the place of warm-up?
    high rate    all at one rate that is high: does warm-up widen the range of rates that work?

The task is recall of the token some positions ago, which a model has either learned or not.
"""

import dataclasses
import functools
import itertools
from typing import Any

import jax.numpy as jnp
from matplotlib.figure import Figure

import transformer
from experiments.comparing.decision import AS_GOOD
from experiments.studies.distance import recall
from experiments.studies.frame.claim import MOST, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import ACCURACY, Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import COLOURS, MARKERS, even, finish, panels, points
from experiments.studies.frame.text import Text
from experiments.studies.parts import synthetic
from transformer.schema import above, at_least, each, setting

POST, PRE = "post", "pre"
PLACEMENTS = (POST, PRE)
"""Values of model.norm_placement."""
WARM, COLD = "warm-up", "no warm-up"
WARMUPS: dict[str, int | None] = {WARM: None, COLD: 0}
"""Warm-up (updates); None: 5 % of them."""
BACK, DIFFERENT = 3, 0.05
"""Positions from a token to its label; least difference of accuracies that matters."""
SHARE = Text("share of tokens", "词元比例")
rising = each(1, 100, "two or more numbers that rise", lambda n: len(n) > 1 and list(n) == sorted(set(n)))


@dataclasses.dataclass(frozen=True)
class WarmupSettings(TrainedSettings):
    """Warm-up with post-norm and pre-norm: python -m experiments.studies warmup --depths=2,12"""

    depths: tuple[int, ...] = setting((2, 6), "numbers of layers (L), each a case", check=rising)
    high: float = setting(1e-2, "learning rate of the cases at a high rate", check=above(0.0, 10.0))
    length: int = setting(16, "sequence length (T, tokens)", check=at_least(2 * BACK, MOST))
    vocabulary: int = setting(16, "different tokens (V)", check=at_least(2, MOST))
    width: int = setting(32, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(16, "sequences per update", check=at_least(1, MOST))
    updates: int = updates_setting(600)


def trainee(settings: WarmupSettings, placement: str, warmup: str, depth: int) -> Trainee:
    """Make what is trained with a placement of the norms, a row of WARMUPS and so many layers."""
    T, V = settings.length, settings.vocabulary
    shape = dict(vocab_size=V, width=settings.width, num_heads=2, num_layers=depth, norm_placement=placement)
    model = transformer.build(
        dict(architecture="decoder_only", position="relative", embedding={"scale": True}, **shape)
    )
    task = {"name": "recall by distance", "distance": BACK, "length": T, "batch": settings.batch}
    sample = recall(settings.batch, T, V, BACK)
    return synthetic.trainee(model, sample, jnp.asarray(BACK), labels=V, task=task, warmup=WARMUPS[warmup])


def arm(placement: str, warmup: str, depth: int, *, high: bool) -> str:
    """Return the name of an arm."""
    return f"{placement}, {warmup}, {depth} layers, {'high' if high else 'best'} rate"


def experiment(settings: WarmupSettings) -> Experiment:
    """Return an arm for each placement, warm-up and depth, at the best rate and at the high one, and the claims."""
    arms, fixed = {}, {}
    for placement, warmup, depth, high in itertools.product(PLACEMENTS, WARMUPS, settings.depths, (False, True)):
        name = arm(placement, warmup, depth, high=high)
        arms[name] = functools.partial(trainee, settings, placement, warmup, depth)
        if high:
            fixed[name] = settings.high
    return Experiment(arms, questions(settings), settings.updates, fixed=fixed)


def questions(settings: WarmupSettings) -> tuple[Question, ...]:
    """Return the claims, with a case for each depth at the best rate and at the high one."""
    cases = [(depth, high) for high in (False, True) for depth in settings.depths]
    at = f"{settings.high:g}"

    def name(depth: int, high: bool) -> Text:
        if high:
            return Text(f"{depth} layers, all at {at}", f"{depth} 层，学习率均为 {at}")
        return Text(f"{depth} layers, each at its best rate", f"{depth} 层，各用最佳学习率")

    def warm(placement: str, depth: int, high: bool) -> tuple[str, str]:
        return arm(placement, WARM, depth, high=high), arm(placement, COLD, depth, high=high)

    def gain(depth: int, high: bool) -> Contrast:
        ours, others = warm(POST, depth, high)
        return Contrast(name(depth, high), (ours,), (others,), ("warmup",), (ours,))

    def kept(depth: int, high: bool) -> Contrast:
        others, ours = warm(PRE, depth, high)
        return Contrast(name(depth, high), (ours,), (others,), ("warmup",))

    def more(depth: int, high: bool) -> Contrast:
        (post, post_cold), (pre, pre_cold) = warm(POST, depth, high), warm(PRE, depth, high)
        return Contrast(name(depth, high), (post, pre_cold), (post_cold, pre), ("warmup",), (post, pre))

    common: dict[str, Any] = dict(metric=ACCURACY, unit=SHARE)
    return (
        Question(
            1,
            Text("Post-norm needs warm-up", "后置归一化需要学习率预热"),
            Text(
                "At its best rate a model without warm-up may take a lower one; at one high rate it cannot. Whoever "
                "does not tune the rate finds the second.",
                "在各自最佳学习率下，没有预热的模型可以用更低的学习率；在同一个高学习率下则不能。"
                "不调学习率的人遇到的是后者。",
            ),
            DIFFERENT,
            tuple(gain(*case) for case in cases),
            **common,
        ),
        Question(
            2,
            Text("Pre-norm does as well without warm-up", "前置归一化没有预热也一样好"),
            Text(
                "Warm-up is 5 % of the updates; after it the learning rate falls by a cosine.",
                "预热占更新次数的 5%；其后学习率按余弦下降。",
            ),
            DIFFERENT,
            tuple(kept(*case) for case in cases),
            kind=AS_GOOD,
            **common,
        ),
        Question(
            3,
            Text("Post-norm needs warm-up more than pre-norm does", "后置归一化比前置归一化更需要预热"),
            Text(
                "The case is a difference of differences: what warm-up gains with post-norm, less what it gains with "
                "pre-norm.",
                "这里比较的是差之差：预热给后置归一化带来的增益，减去给前置归一化带来的增益。",
            ),
            DIFFERENT,
            tuple(more(*case) for case in cases),
            **common,
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Draw for each depth the loss against the learning rate, and the accuracies at the high rate."""
    trained = numbers["trained"]
    depths = sorted({int(name.split(", ")[2].split()[0]) for name in trained})
    figure, grid = panels(max(len(depths), 1), 2, width=4.0, height=2.7)
    kinds = list(itertools.product(PLACEMENTS, WARMUPS))
    for column, depth in enumerate(depths):
        upper, lower = grid[:, column]
        for i, kind in enumerate(kinds):
            rates = trained.get(arm(*kind, depth, high=False), {}).get("rates", {})
            known = sorted((float(rate), float(loss)) for rate, loss in rates.items())
            if known:
                style = dict(color=COLOURS[i], marker=MARKERS[i], markersize=4, linewidth=1.4)
                upper.plot(*zip(*known, strict=True), label=", ".join(kind), **style)
        upper.set_xscale("log")
        finish(upper, f"{depth} layers (seeds of the choice)", "learning rate", "held-out loss (nats per token)")
        runs = {", ".join(kind): trained.get(arm(*kind, depth, high=True), {}).get("runs", {}) for kind in kinds}
        last = {name: own[max(own, key=int)]["accuracy_R"] for name, own in runs.items() if own}
        if last:
            points(lower, *even(last))
        lower.set_xlim(-0.02, 1.05)
        finish(lower, f"{depth} layers, all at the high rate", "share of tokens right", "")
    if grid[0, 0].get_legend_handles_labels()[0]:
        grid[0, 0].legend(frameon=False, fontsize=7)
    return figure


WARMUP = Study(
    title=Text(
        "Warm-up of the learning rate with norms after and before the sublayers",
        "学习率预热与归一化的位置：后置与前置",
    ),
    settings=WarmupSettings,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"depths": (1, 2), "claims": (1,), "updates": 40, "max_seeds": 1, "long_seeds": 0},
)
