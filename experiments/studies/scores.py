"""Score functions: the key with the most weight, the time of each score, and the loss of models trained with it.

    dot   q . k = |q| |k| cos(q, k)

The scores are those of `transformer.ops.scores`; models are trained with the initial values of their parameters, and
with ALiBi, which adds the same bias to every score.
"""

import dataclasses
import functools
from collections.abc import Sequence

from matplotlib.figure import Figure

import transformer
from experiments.studies.frame.claim import MOST, Claim, Numbers, Study, TrainedSettings, updates_setting
from experiments.studies.frame.experiment import Contrast, Experiment, Question, Trainee
from experiments.studies.frame.pictures import even, finish, panels, points
from experiments.studies.frame.text import Text, same
from experiments.studies.parts import scores_exact, text
from experiments.studies.parts.scores_claims import SCORES
from transformer.schema import at_least, setting

BEST, POSITION = "scaled dot", "position only"
MARGIN = 0.02
"""Least difference that matters (nats per byte)."""
UNIT = Text("nats per byte", "奈特每字节")


@dataclasses.dataclass(frozen=True)
class ScoresSettings(TrainedSettings):
    """Comparison of score functions: python -m experiments.studies scores --updates=500"""

    rounds: int = setting(20, "rounds in which each score is timed", check=at_least(4, 10_000))
    width: int = setting(64, "model width D, a multiple of 4", check=at_least(4, MOST))
    batch: int = setting(8, "windows of 64 bytes per update", check=at_least(1, MOST))
    text: str | None = setting(None, text.FLAG)
    updates: int = updates_setting(2000)


def measure(settings: ScoresSettings) -> Numbers:
    """Compute the numbers of the claims on lengths and on time."""
    return scores_exact.measure(scores_exact.ScoresExactSettings(rounds=settings.rounds))


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on lengths and on time."""
    return scores_exact.judge(numbers)


def trainee(score: str, settings: ScoresSettings) -> Trainee:
    """Make what is trained with a score."""
    D = settings.width
    shape = dict(vocab_size=text.VOCABULARY, num_layers=2, width=D, num_heads=4, feed_forward_width=4 * D)
    model = transformer.build(dict(architecture="decoder_only", position="alibi", score=score, **shape))
    return text.trainee(model, settings)


def experiment(settings: ScoresSettings) -> Experiment:
    """Return an arm for each score, and the claims."""
    arms = {name: functools.partial(trainee, score, settings) for name, score in SCORES.items()}
    contents = [name for name in SCORES if name not in (BEST, POSITION)]
    best = Question(
        3,
        Text("The scaled dot product is the best score", "缩放点积是最好的打分函数"),
        Text(
            f"Compared with {BEST} one by one, each at its best learning rate; the times are those of claim 2.",
            f"逐一与 {BEST} 比较，各用其最佳学习率；时间见第 2 条。",
        ),
        MARGIN,
        tuple(Contrast(Text(f"against {n}", f"对 {n}"), (BEST,), (n,), ("model.score",)) for n in contents),
        unit=UNIT,
    )
    content = Question(
        4,
        Text("What is attended to must depend on the content", "注意力的对象必须取决于内容"),
        Text(
            "Measured on windows of 64 bytes, where near bytes matter most. A task in which the place of what is "
            "needed "
            "changes, such as recall by key, needs the content.",
            "在 64 字节的窗口上测量，其中近处的字节最重要。所需内容的位置会变化的任务（如按键回忆）需要内容。",
        ),
        MARGIN,
        (Contrast(same(f"{BEST} / {POSITION}"), (BEST,), (POSITION,), ("model.score",)),),
        unit=UNIT,
    )
    return Experiment(arms, (best, content), settings.updates)


def draw(numbers: Numbers) -> Figure:
    """Draw the wins of the long key, the times and the losses of trained models."""
    figure, grid = panels(3, width=3.9)
    scores_exact.draw_panels(grid[0, :2], numbers)
    runs = {name: row["runs"] for name, row in numbers.get("trained", {}).items() if row["runs"]}
    shortest = min((int(u) for row in runs.values() for u in row), default=0)
    losses = {name: row[str(shortest)]["loss_R"] for name, row in runs.items() if str(shortest) in row}
    if losses:
        points(grid[0, 2], *even(losses))
    finish(grid[0, 2], f"trained on text, {shortest:,} updates", "held-out loss (nats per byte)", "")
    return figure


SCORING = Study(
    title=Text(
        "Score functions: the key with the most weight, time, and quality", "打分函数：权重最大的键、时间与质量"
    ),
    settings=ScoresSettings,
    measure=measure,
    judge=judge,
    experiment=experiment,
    draw=draw,
    cost="not measured",
    preview={"updates": 40, "max_seeds": 1, "long_seeds": 0, "rounds": 4},
)
