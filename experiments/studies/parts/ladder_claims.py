"""Claims of the ladder, judged by its numbers."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.studies.frame.claim import DIFFERS, HOLDS, Claim, Numbers, above_zero, judge_cases, spread
from experiments.studies.parts.rungs import ALONE, ATTENDING, DECODER, ENCODER, RNN, SELF_TOO, TRANSFORMER

TOKENS, ANSWERS, BLEU = 0.01, 0.05, 1.0
"""Largest differences at which two rungs count as equally good: share of tokens, of whole answers, and BLEU."""
PUBLISHED = {ATTENDING: 28.2, TRANSFORMER: 36.1}
"""Published BLEU on the test set of 2016 of Multi30k, de to en; of larger models that were trained to their end."""


def time_to_goal(row: Mapping[str, Any], goal: float) -> np.ndarray:
    """Compute the seconds of each seed until its training loss is at the goal; infinity: it never is."""
    reached_RU = np.asarray(row["loss_RU"], float) <= goal
    updates_R = np.where(reached_RU.any(1), reached_RU.argmax(1) + 1, np.inf)
    return updates_R * row["seconds_an_update"]


def sooner(a_R: np.ndarray, b_R: np.ndarray) -> bool:
    """Return whether all seeds of a arrive, and sooner than b by more than the interval, or not all of b arrive."""
    return bool(np.all(np.isfinite(a_R))) and (not np.all(np.isfinite(b_R)) or above_zero(b_R - a_R))


def as_good(a_R: np.ndarray, b_R: np.ndarray, margin: float) -> bool:
    """Return whether the mean of a is at most a margin below that of b; one that diverged is not as good."""
    return bool(np.mean(a_R) >= np.mean(b_R) - margin)


def judge(numbers: Numbers) -> Sequence[Claim]:
    """Judge the claims on the rungs, on source lengths, on speed and, of sentences, on translations."""
    rungs = numbers["rungs"]
    accuracy = {name: np.asarray(row["accuracy_R"], float) for name, row in rungs.items()}
    exact = {name: np.asarray(row["exact_R"], float) for name, row in rungs.items()}
    seeds = len(accuracy[RNN])

    def readings(names: Sequence[str]) -> str:
        return "; ".join(f"{n}: {spread(accuracy[n])}, exact {spread(exact[n])}{bleu_text(rungs[n])}" for n in names)

    order = (RNN, ATTENDING, ALONE, SELF_TOO, TRANSFORMER)
    steps = {f"{a} becomes {b}": above_zero(accuracy[b] - accuracy[a]) for a, b in itertools.pairwise(order)}
    sizes = [row["parameters"] for row in rungs.values()]
    same = f"{min(sizes):,} to {max(sizes):,} parameters (" + ", ".join(
        f"{name} {row['parameters']:,} at D = {row['width']}" for name, row in rungs.items()
    )
    ladder = Claim(
        said="Each step from the RNN to the Transformer is one up",
        **judge_cases(steps),
        criterion="tokens right on held-out pairs rise by more than the interval, each at its better learning rate",
        measured=f"{same}): {readings(order)}",
        instead="Which step helps depends on the task, the size and the number of updates.",
        seeds=seeds,
    )
    enough = Claim(
        said="Attention is all you need: without recurrence and feed-forward it does as well",
        **judge_cases(
            {n: as_good(accuracy[n], accuracy[TRANSFORMER], TOKENS) for n in (ALONE, SELF_TOO)}, word="it is "
        ),
        criterion=f"on average the share of tokens right is not below the Transformer's by more than {TOKENS:g}",
        measured=readings((ALONE, SELF_TOO, TRANSFORMER)),
        instead="The paper's title is about recurrence: its model has feed-forward layers and needs positions.",
        seeds=seeds,
    )
    by_length = {name: np.asarray(row["accuracy_QR"], float) for name, row in rungs.items()}
    falls = {name: x[0] - x[-1] for name, x in by_length.items()}
    shortest, longest = numbers["length_Q"][0], numbers["length_Q"][-1]
    by_quarter = (
        f"tokens right in the quarter of the shortest sources ({shortest:.0f} tokens) less those of the longest "
        f"({longest:.0f}): " + ", ".join(f"{name} {spread(falls[name], signed=True)}" for name in order)
    )
    long = Claim(
        said="An RNN without attention reads long sources worse than short ones",
        found=HOLDS if above_zero(falls[RNN]) else DIFFERS,
        criterion="the difference is above 0 by more than the interval",
        measured=by_quarter,
        instead="Where it holds, it holds for the lengths of these data; long sources may be harder in themselves.",
        seeds=seeds,
    )
    mended = Claim(
        said="With attention an RNN does not lose on long sources what it loses without",
        found=HOLDS if above_zero(falls[RNN] - falls[ATTENDING]) else DIFFERS,
        criterion="the difference with attention is below that without by more than the interval",
        measured=f"without - with: {spread(falls[RNN] - falls[ATTENDING], signed=True)}",
        instead="The last state has one size for every length; attention reads as many states as there are tokens.",
        seeds=seeds,
    )
    return [ladder, enough, long, mended, *judge_speed(numbers, seeds), *judge_translations(rungs, seeds)]


def bleu_text(row: Mapping[str, Any]) -> str:
    """Format the BLEU of a rung; "" where it has none."""
    return f", BLEU {spread(row['bleu_R'])}" if "bleu_R" in row else ""


def judge_speed(numbers: Numbers, seeds: int) -> Sequence[Claim]:
    """Judge the claims on the time to the goal and on the three architectures."""
    took = {name: time_to_goal(row, numbers["goal"]) for name, row in numbers["rungs"].items()}

    def arrival(seconds_R: np.ndarray) -> str:
        return spread(seconds_R) + " s" if np.all(np.isfinite(seconds_R)) else "not reached by every seed"

    rivals = {"the RNN has no attention": RNN, "the RNN has attention": ATTENDING}
    faster = Claim(
        said="A Transformer trains faster than an RNN",
        **judge_cases({case: sooner(took[TRANSFORMER], took[name]) for case, name in rivals.items()}),
        criterion=f"every seed trains to {numbers['goal']:g} nats per token sooner, by more than the interval, or "
        "not every seed of the RNN arrives",
        measured="; ".join(f"{name}: {arrival(x)}" for name, x in took.items()),
        instead="This is measured on few cores with short sequences, all padded to one length; an accelerator loses "
        "more time by the steps of an RNN.",
        seeds=seeds,
    )
    translated = "bleu_R" in numbers["rungs"][TRANSFORMER]
    key, reading, margin = ("bleu_R", "BLEU", BLEU) if translated else ("exact_R", "share of whole answers", ANSWERS)
    whole = {name: np.asarray(numbers["rungs"][name][key], float) for name in (TRANSFORMER, DECODER, ENCODER)}
    gaps = {
        f"the other is {name}": as_good(whole[name], whole[TRANSFORMER], margin)
        and as_good(whole[TRANSFORMER], whole[name], margin)
        for name in (DECODER, ENCODER)
    }
    alike = Claim(
        said="Encoder-decoder, decoder-only and encoder-only do the same task equally well",
        **judge_cases(gaps),
        criterion=f"{reading}: on average no more than {margin:g} from the encoder-decoder's",
        measured="; ".join(f"{name} {spread(x)}" for name, x in whole.items()),
        instead="All three can be trained for it. Shares of tokens are not comparable: an encoder predicts all tokens "
        "at once, and a decoder is given the reference before each.",
        seeds=seeds,
    )
    return [faster, alike]


def judge_translations(rungs: Mapping[str, Any], seeds: int) -> Sequence[Claim]:
    """Judge the claim on translations, if the pairs are sentences."""
    if "bleu_R" not in rungs[TRANSFORMER]:
        return []
    gain = np.asarray(rungs[TRANSFORMER]["bleu_R"], float) - np.asarray(rungs[ATTENDING]["bleu_R"], float)
    claim = Claim(
        said="A Transformer translates better than an RNN with attention",
        found=HOLDS if above_zero(gain) else DIFFERS,
        criterion="BLEU of held-out pairs, written greedily, is higher by more than the interval",
        measured=f"BLEU, Transformer - RNN + attention: {spread(gain, signed=True)}",
        instead="Published for Multi30k, de to en: "
        + ", ".join(f"{name} {score}" for name, score in PUBLISHED.items())
        + " BLEU, with larger models that were trained to their end.",
        seeds=seeds,
    )
    return [claim]
