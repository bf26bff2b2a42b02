"""The language of a date: labels, ceiling, and the writing of many days at once."""

import collections
import dataclasses
import datetime

import pytest
from babel import Locale
from babel.dates import format_date

from experiments.data.config import DataConfig, DatesConfig
from experiments.data.examples import LABELS, PAIRS
from experiments.data.sources.date_language import Ceiling, ceiling, language
from experiments.data.sources.dates import dates, every_day, split_days, write, writers
from experiments.data.sources.table import load
from transformer.errors import UserError

FEW = DatesConfig(locales=("fr", "de", "fi", "sv", "en_US", "en_GB", "zh_Hant"), first_year=2001, last_year=2003)
SMALL = DataConfig(source="date_language", examples=3_001, evaluation_examples=307, dates=FEW)


def test_many_days_are_written_as_babel_writes_each():
    days = every_day(DatesConfig(first_year=1950, last_year=2049))[::577]
    assert len(days) == 64
    for locale, style in writers(DatesConfig(formats=("full", "long", "medium", "short"))):
        assert write(days, (locale, style)) == [format_date(day, style, locale) for day in days], (locale, style)


@pytest.mark.parametrize("name", ["fa", "ar", "my", "ja", "bg"])
def test_a_day_of_an_early_year_is_written_as_babel_does(name):
    days = [datetime.date(1, 1, 1), datetime.date(33, 12, 31), datetime.date(9999, 12, 31)]
    for style in ("full", "short"):
        locale = Locale.parse(name)
        assert write(days, (locale, style)) == [format_date(day, style, locale) for day in days]


def test_default_locales_have_48_languages_without_script_and_territory():
    labels = {language(locale) for locale, _ in writers(DatesConfig())}
    assert len(labels) == 48
    assert {"en", "zh", "pt", "fr"} <= labels


def test_the_label_is_the_language_and_texts_are_those_of_dates():
    splits = load(SMALL, 2, LABELS)
    of_dates = dates(SMALL, 2)
    for part in ("train", "validation", "test"):
        labelled, read = getattr(splits, part), getattr(of_dates, part)
        assert [pair.source for pair in labelled] == [pair.source for pair in read]
        assert all(pair.target == pair.group == other.group[:2] for pair, other in zip(labelled, read, strict=True))
    assert collections.Counter(pair.target for pair in splits.train).keys() == {"fr", "de", "fi", "sv", "en", "zh"}


def test_labels_serve_as_pairs_and_are_a_function_of_the_seed():
    assert load(SMALL, 2, PAIRS) == load(SMALL, 2, LABELS) != load(SMALL, 3, LABELS)


@pytest.mark.parametrize("seed", [0, 1])
def test_days_of_training_validation_and_test_are_all_days_and_disjoint(seed):
    train, validation, test = split_days(FEW, seed)
    assert sorted([*train, *validation, *test]) == [*every_day(FEW)]
    assert len(validation) == len(test) == round(0.05 * len(every_day(FEW)))


def test_the_ceiling_is_what_a_reader_who_counts_every_string_reaches():
    """By the definition, one string at a time; German and Finnish write 20.11.2002 alike, but not 3.2.2002."""
    _, _, test = split_days(FEW, 1)
    meant = collections.defaultdict(collections.Counter)
    for name in FEW.locales:
        for style in FEW.formats:
            for day in test:
                locale = Locale.parse(name)
                meant[format_date(day, style, locale)][locale.language] += 1
    right = sum(max(counts.values()) for counts in meant.values())
    shared = sum(len(counts) > 1 for counts in meant.values())
    expected = Ceiling(right / sum(counts.total() for counts in meant.values()), len(meant), shared)
    assert ceiling(FEW, test) == expected
    assert 0 < expected.shared < expected.strings
    assert 0.5 < expected.accuracy < 1.0


def test_two_locales_of_one_language_share_strings_without_lowering_the_ceiling():
    days = [datetime.date(2026, 11, 20), datetime.date(2026, 3, 3)]
    assert ceiling(DatesConfig(locales=("de", "de_LI")), days) == Ceiling(1.0, 6, 0)


def test_a_string_that_two_languages_share_is_right_half_of_the_time():
    """20.11.2026 in both; 03.03.2026 and 3.3.2026."""
    days = [datetime.date(2026, 11, 20), datetime.date(2026, 3, 3)]
    assert ceiling(DatesConfig(locales=("de", "fi"), formats=("medium",)), days) == Ceiling(3 / 4, 3, 1)


def test_the_notes_print_the_ceiling_of_the_tests_days():
    (note,) = load(SMALL, 1, LABELS).notes
    most = ceiling(FEW, split_days(FEW, 1)[2])
    assert f"ceiling: {100 * most.accuracy:.2f} % accuracy" in note
    assert f"{most.shared:,} of {most.strings:,} strings are shared by several languages" in note
    assert "6 languages" in note


def test_locales_of_one_language_are_an_error():
    only = dataclasses.replace(SMALL, dates=DatesConfig(locales=("en_US", "en_GB")))
    with pytest.raises(UserError, match=r"one language.*en_US, en_GB.*two languages"):
        load(only, 0, LABELS)
