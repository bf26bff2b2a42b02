"""The study of self- and cross-attention: the true alignment, the layers' bits, and words that follow the lanes."""

import datetime

import jax.numpy as jnp
import numpy as np
import pytest
from babel import Locale

from experiments.data.config import DatesConfig
from experiments.data.sources.dates import ceiling, every_day, write, writers
from experiments.studies import self_and_cross as study
from experiments.studies.parts.date_alignment import ANSWER, NOWHERE, aligned, date_splits
from experiments.studies.parts.one_function import layers
from tests.fixtures.lanes import words

DAY = datetime.date(2026, 5, 7)


@pytest.mark.parametrize(
    ("locale", "style", "text", "positions"),
    [
        ("de", "long", "7. Mai 2026", [7, 8, 9, 10, None, None, None, None, None, 0]),
        ("de", "medium", "07.05.2026", [6, 7, 8, 9, None, 3, 4, None, 0, 1]),
        ("ja", "long", "2026年5月7日", [0, 1, 2, 3, None, None, 5, None, None, 7]),
        ("de", "short", "07.05.26", [None, None, 6, 7, None, 3, 4, None, 0, 1]),
    ],
)
def test_a_digit_is_aligned_with_the_position_that_the_format_gives_it(locale, style, text, positions):
    found, where = aligned(DAY, (Locale.parse(locale), style))
    assert found == text
    assert where == [NOWHERE if place is None else place for place in [*positions, None]]


def test_aligned_characters_are_the_digits_of_the_date_and_texts_are_those_of_the_source():
    config = DatesConfig(study.SelfAndCrossSettings().locales, study.SelfAndCrossSettings().formats)
    days = every_day(config)[::997]
    for writer in writers(config):
        for day, text in zip(days, write(days, writer), strict=True):
            found, where = aligned(day, writer)
            assert found == text
            digits = [(text[i], day.isoformat()[t]) for t, i in enumerate(where) if i != NOWHERE]
            assert len(digits) >= 5  # four of the year, one or two of the day
            assert all(a == b for a, b in digits)


def test_each_text_of_the_default_locales_is_one_day():
    config = DatesConfig(study.SelfAndCrossSettings().locales, study.SelfAndCrossSettings().formats)
    assert ceiling(config, every_day(config)[::7]) == 1.0


def test_examples_are_padded_alike_and_aligned_with_their_tokens():
    learn, check, size = date_splits(DatesConfig(("de", "fi"), ("long", "medium")), (13, 7))
    assert learn.arrays["source"].shape[0] == 13
    assert check.aligned_NT.shape == check.arrays["labels"].shape == (7, ANSWER)
    for source_S, labels_T, positions_T in zip(
        check.arrays["source"], check.arrays["labels"], check.aligned_NT, strict=True
    ):
        there = positions_T != NOWHERE
        assert there.sum() >= 5
        assert np.array_equal(source_S[positions_T[there]], labels_T[there])
    assert max(int(x.max()) for x in (learn.arrays["source"], learn.arrays["labels"])) < size


@pytest.mark.more
@pytest.mark.parametrize(("position", "same"), [("sinusoidal", True), ("rotary", False), ("relative", False)])
def test_layers_of_both_kinds_give_the_same_bits_but_where_positions_are_the_layers_own(position, same):
    found = layers(3, position, 8)
    assert (found["differ_R"] == 0.0) == same
    assert found["written_out_R"] < 1e-5
    assert found["written_out_other_R"] < 1e-5
    assert found["other_R"] > 0.1


class Aligned:
    """A model whose second head of layer 1 has all its weight at the true positions, and the others at the first."""

    def apply(self, params, batch, capture):
        (B, S), T = batch["source"].shape, params.shape[1]
        weights = np.zeros((2, B, 4, T, S))
        weights[..., 0] = 1.0
        weights[1, :, 1] = np.eye(S)[np.maximum(params, 0)]
        return {"captured": {study.WEIGHTS: jnp.asarray(weights)}}


def test_a_head_at_the_true_positions_is_aligned_and_the_others_are_not():
    _, dates, _ = date_splits(DatesConfig(("de", "ja"), ("medium",)), (1, 40))
    found = study.alignment_of(Aligned(), dates.aligned_NT, dates)
    assert float(found["best"]) == 1.0
    assert np.argmax(found["heads_H"]) == 5
    assert np.sort(np.asarray(found["heads_H"]))[-2] < 0.3
    assert 0.3 < float(found["fixed"]) < 1.0


def test_words_follow_the_lanes(tmp_path):
    experiment = study.experiment(study.SelfAndCrossSettings())

    def found(best, folder):
        extra = {"best": best, "heads_H": [best], "fixed": 0.4}
        return words(experiment, {"cross": {"loss": 0.1, "accuracy": 0.99, "exact": 0.9, "extra": extra}}, folder)

    assert found(0.97, tmp_path / "a") == {2: ["holds"]}
    assert found(0.8, tmp_path / "b") == {2: ["fails"]}
