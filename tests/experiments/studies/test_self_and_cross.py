"""The study of self- and cross-attention: the true alignment, the layers' bits, and what the verdicts follow."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from babel import Locale

import transformer
from experiments.data.config import DatesConfig
from experiments.data.sources.dates import ceiling, every_day, write, writers
from experiments.studies import self_and_cross as study
from experiments.studies.frame.claim import StudySettings
from experiments.studies.parts.date_alignment import ANSWER, NOWHERE, aligned, date_splits
from experiments.studies.parts.one_function import layers
from experiments.studies.table import STUDIES

DAY = datetime.date(2026, 5, 7)
TINY = study.SelfAndCrossSettings(locales=("de", "ja"), width=8, steps=2, batch=3, examples=11, checked=6)


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


@pytest.mark.more
def test_the_strongest_positions_are_those_of_the_weights():
    model = transformer.build(dict(architecture="seq2seq", vocab_size=9, width=8, num_layers=2, num_heads=4))
    params = model.init(jax.random.key(0))
    batch = {"source": jnp.arange(10).reshape(2, 5) % 9, "target": jnp.arange(6).reshape(2, 3)}
    found = study.strongest_positions(model, params, batch)
    weights = model.apply(params, batch, capture=(study.WEIGHTS,))["captured"][study.WEIGHTS]
    assert found["head_LNBT"].shape == (2, 4, 2, 3)
    assert int(found["head_LNBT"][1, 3, 1, 2]) == int(jnp.argmax(weights[1, 1, 3, 2]))
    assert int(found["mean_BT"][1, 2]) == int(jnp.argmax(weights[:, 1, :, 2].mean((0, 1))))


def test_a_head_at_the_true_positions_is_aligned_and_one_at_the_first_is_not():
    _, dates, _ = date_splits(DatesConfig(("de", "ja"), ("medium",)), (1, 40))
    true_NT = np.maximum(dates.aligned_NT, 0)
    heads = np.stack([np.zeros_like(true_NT), true_NT])[None, :, None]  # R L N B T
    strongest = {"mean_BT": np.zeros_like(true_NT)[None], "head_LNBT": np.swapaxes(heads, 1, 2)}
    found = study.alignment(strongest, dates)
    assert found["best_head_R"] == [1]
    assert found["best_R"] == found["digit_R"] == [1.0]
    assert found["mean_R"][0] < 0.3
    assert np.isnan(found["best_RT"][0][[4, 7, 10]]).all()
    assert 0.3 < found["fixed"] < 1.0


@pytest.fixture(scope="module")
def measured():
    return study.measure(TINY)


@pytest.mark.more
def test_a_tiny_study_gives_numbers_claims_and_a_figure(measured):
    assert measured["alignment"]["digits"] > 0
    assert measured["cross"]["exact_R"].shape == measured["blind"]["exact_R"].shape == (3,)
    assert len(study.judge(measured)) == 3
    assert study.draw(measured).axes


def numbers(differ=0.0, written_out=1e-7, best=0.97, mean=0.5, with_cross=0.99, blind=0.0, guess=0.91):
    seeds = np.array([-0.001, 0.0, 0.001])
    row = {"differ_R": np.full(3, differ), "written_out_R": np.full(3, written_out)}
    row |= {"written_out_other_R": row["written_out_R"], "other_R": 1.0 + seeds}
    of_rotary = row | {"differ_R": np.ones(3)}
    found = {"best_R": best + seeds, "mean_R": mean + seeds, "digit_R": best + seeds, "fixed": 0.4, "digits": 7}

    def trained(exact, loss):
        return {"exact_R": exact + seeds, "loss": loss + seeds}

    both = {"cross": trained(with_cross, 0.1), "blind": trained(blind, guess), "blind_loss": 0.9}
    return {"bits": {"none": row, "rotary": of_rotary}, "alignment": found, **both}


def test_verdicts_follow_the_numbers():
    def found(**changed):
        return [c.verdict for c in study.judge(numbers(**changed))]

    assert found() == ["holds if positions are none", "holds if the best head is read", "holds"]
    assert found(differ=0.01)[0] == found(written_out=0.1)[0] == "differs"
    assert found(best=0.8)[1] == "differs"
    assert found(mean=0.95)[1] == "holds"
    assert found(blind=0.99)[2] == found(guess=0.8)[2] == "differs"


def test_fixed_positions_that_hit_as_often_are_no_alignment():
    made = numbers()
    made["alignment"]["fixed"] = 0.98
    assert study.judge(made)[1].verdict == "differs"


def test_the_study_is_in_the_table():
    assert STUDIES["self_and_cross"] is study.SELF_AND_CROSS
    assert issubclass(study.SelfAndCrossSettings, StudySettings)
