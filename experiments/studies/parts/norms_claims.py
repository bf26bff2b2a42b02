"""Claims of the study of norms, judged by its numbers."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.studies.frame.claim import Claim, Numbers, above_zero, judge_cases, spread
from experiments.studies.parts.batch_norm import FEATURE, FEATURE_PADDED, LAYER, NORMS, POSITION, POSITION_PADDED

ZERO = 1e-6
"""Largest share of the largest gradient at which a gradient counts as none."""
LEAKS = [
    (kind, name, when)
    for kind, name in (("per feature", FEATURE), ("per position", POSITION))
    for when in ("learning", "using")
]
"""Cases (words, norm, when) of the claim that the future leaks."""


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on batch norm against layer norm."""
    rows = {name: {k: np.asarray(x, float) for k, x in row.items()} for name, row in numbers["trained"].items()}
    loss = {name: row["loss_SR"] for name, row in rows.items()}
    shortest, T, seeds = numbers["shortest"], numbers["length"], loss[LAYER].shape[1]
    batches = [name for name in NORMS if name != LAYER]
    cases = {f"{s} to {T}" if s < T else f"all {T}": i for i, s in enumerate(shortest)}
    last = f"{shortest[-1]} to {T}"

    def listed(values: Mapping[str, np.ndarray]) -> str:
        return "; ".join(f"{name} {spread(x, signed=True)}" for name, x in values.items())

    lost = {name: loss[name] - loss[LAYER] for name in batches}
    more = {case: lost[FEATURE][i] for case, i in cases.items()}
    ways = {name: x[-1] for name, x in lost.items()}
    worse = Claim(
        said="Batch norm (per feature, of what is no padding) is worse than layer norm",
        **judge_cases({case: above_zero(x) for case, x in more.items()}, word="lengths are "),
        criterion="its held-out loss is above that of layer norm by more than the interval, each at its better rate",
        measured=f"nats per token more than layer norm, by lengths: {listed(more)}; each way, lengths {last}: "
        f"{listed(ways)}",
        instead="This is measured with small batches and few updates; the statistics of a batch add noise.",
        seeds=seeds,
    )
    growth = {name.removeprefix("batch, "): x[-1] - x[0] for name, x in lost.items()}
    varied = Claim(
        said="Batch norm is worse because lengths vary within a batch",
        **judge_cases({name: above_zero(x) for name, x in growth.items()}, word="it is "),
        criterion="what batch norm loses against layer norm grows from the least to the most varied lengths, by more "
        "than the interval",
        measured=f"growth from lengths {next(iter(cases))} to {last}, nats per token: {listed(growth)}",
        instead="Statistics of the last positions come from few examples; statistics over positions come from all "
        "tokens of the batch.",
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
        measured=f"nats per token: {listed(counted)}",
        instead="Rows of padding are rows of one token; their effect on the statistics depends on their number.",
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
        measured=f"rise, nats per token: {listed(rise)}",
        instead="Per position there are no averages beyond the trained length; per feature those of training are used.",
        seeds=seeds,
    )
    leaks = {name: {k: np.asarray(x, float) for k, x in row.items()} for name, row in numbers["leaks"].items()}

    def share(name: str, reading: str) -> str:
        return f"{leaks[name][reading].max():.1e}"

    ways = {f"it is {kind} and {when}": (name, f"{when}_future_R") for kind, name, when in LEAKS}
    future = Claim(
        said="Batch norm leaks the future into a causal model",
        **judge_cases({case: bool(np.all(leaks[name][reading] > ZERO)) for case, (name, reading) in ways.items()}),
        criterion=f"a row's gradient to a later position, of its own or another example, is above {ZERO:g} of the "
        "largest, for every seed",
        measured="largest gradient to a later position, as a share of the largest: "
        + "; ".join(f"{case.removeprefix('it is ')} {share(name, reading)}" for case, (name, reading) in ways.items())
        + f"; layer {share(LAYER, 'learning_future_R')}; to other examples: "
        + "; ".join(f"{name} {share(name, 'learning_others_R')}" for name in (LAYER, FEATURE, POSITION)),
        instead="In training, statistics over positions depend on later rows; those of each position do not, but "
        "depend on other examples. With averages nothing leaks.",
        seeds=len(leaks[LAYER]["learning_future_R"]),
    )
    return [worse, varied, padding, beyond, future]
