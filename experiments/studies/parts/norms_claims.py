"""What the numbers of the norms say."""

from collections.abc import Sequence

import numpy as np

from experiments.studies.frame.claim import Claim, Numbers, above_zero, judge_cases, spread
from experiments.studies.parts.batch_norm import FEATURE, FEATURE_PADDED, LAYER, NORMS, POSITION, POSITION_PADDED

ZERO = 1e-6
"""A gradient below this share of the largest is none."""
LEAKS = [
    (kind, name, when)
    for kind, name in (("per feature", FEATURE), ("per position", POSITION))
    for when in ("learning", "using")
]
"""(words, norm, when) of the claim that the future leaks."""


def judge(numbers: Numbers) -> Sequence[Claim]:
    rows = {name: {k: np.asarray(x, float) for k, x in row.items()} for name, row in numbers["trained"].items()}
    loss = {name: row["loss_SR"] for name, row in rows.items()}
    shortest, T, seeds = numbers["shortest"], numbers["length"], loss[LAYER].shape[1]
    batches = [name for name in NORMS if name != LAYER]
    cases = {f"{s} to {T}" if s < T else f"all {T}": i for i, s in enumerate(shortest)}
    last = f"{shortest[-1]} to {T}"
    told = lambda values: "; ".join(f"{name} {spread(x, signed=True)}" for name, x in values.items())  # noqa: E731
    lost = {name: loss[name] - loss[LAYER] for name in batches}
    more = {case: lost[FEATURE][i] for case, i in cases.items()}
    ways = {name: x[-1] for name, x in lost.items()}
    worse = Claim(
        said="Batch norm (per feature, of what is no padding) is worse than layer norm",
        **judge_cases({case: above_zero(x) for case, x in more.items()}, word="lengths are "),
        criterion="its held-out loss is above that of layer norm by more than the interval, each at its better rate",
        measured=f"nats per token more than layer norm, by lengths: {told(more)}; each way, lengths {last}: "
        f"{told(ways)}",
        instead="Of batches of few examples, and as many updates: statistics of a batch are noise to learn through.",
        seeds=seeds,
    )
    growth = {name.removeprefix("batch, "): x[-1] - x[0] for name, x in lost.items()}
    varied = Claim(
        said="Batch norm is worse because lengths vary within a batch",
        **judge_cases({name: above_zero(x) for name, x in growth.items()}, word="it is "),
        criterion="what batch norm loses against layer norm grows from the least to the most varied lengths, by more "
        "than the interval",
        measured=f"growth from lengths {next(iter(cases))} to {last}, nats per token: {told(growth)}",
        instead="Where the last positions have few examples their statistics are of few; statistics over positions "
        "have as many rows as the batch has tokens.",
        seeds=seeds,
    )
    counted = {
        "statistics are per feature": loss[FEATURE_PADDED][-1] - loss[FEATURE][-1],
        "statistics are per position": loss[POSITION_PADDED][-1] - loss[POSITION][-1],
    }
    padding = Claim(
        said="Batch norm suffers where padding is counted in its statistics",
        **judge_cases({name: above_zero(x) for name, x in counted.items()}),
        criterion=f"with padding counted the held-out loss is higher by more than the interval, at lengths {last}",
        measured=f"nats per token: {told(counted)}",
        instead="Rows of padding are rows of one token: what they do to the statistics is a matter of their number.",
        seeds=seeds,
    )
    furthest, longest = numbers["longer"][-1], {name: row["longer_SER"][:, -1] for name, row in rows.items()}
    rise = {name: longest[name][-1] - loss[name][-1] for name in NORMS}
    beyond = Claim(
        said="Batch norm fails at lengths that training did not have",
        **judge_cases(
            {name.removeprefix("batch, "): above_zero(rise[name] - rise[LAYER]) for name in batches}, word="it is "
        ),
        criterion=f"from lengths {last} to {furthest} its loss rises more than that of layer norm, by more than the "
        "interval",
        measured=f"rise, nats per token: {told(rise)}",
        instead="Per position there are no averages beyond the longest; per feature those of training are used.",
        seeds=seeds,
    )
    leaks = {name: {k: np.asarray(x, float) for k, x in row.items()} for name, row in numbers["leaks"].items()}
    share = lambda name, what: f"{leaks[name][what].max():.1e}"  # noqa: E731
    ways = {f"it is {kind} and {when}": (name, f"{when}_future_R") for kind, name, when in LEAKS}
    future = Claim(
        said="Batch norm lets a causal model see the future",
        **judge_cases({case: bool(np.all(leaks[name][what] > ZERO)) for case, (name, what) in ways.items()}),
        criterion=f"a row's gradient to a later position, of its own or another example, is above {ZERO:g} of the "
        "largest, for every seed",
        measured="largest gradient to a later position, as a share of the largest: "
        + "; ".join(f"{case.removeprefix('it is ')} {share(name, what)}" for case, (name, what) in ways.items())
        + f"; layer {share(LAYER, 'learning_future_R')}; to other examples: "
        + "; ".join(f"{name} {share(name, 'learning_others_R')}" for name in (LAYER, FEATURE, POSITION)),
        instead="While it learns, statistics over positions hold the rows after; those of each position alone do not, "
        "but let other examples in. With averages nothing leaks.",
        seeds=len(leaks[LAYER]["learning_future_R"]),
    )
    return [worse, varied, padding, beyond, future]
