import dataclasses
import datetime
import re

import pytest

from experiments.data.config import DataConfig, DatesConfig
from experiments.data.sources.dates import ceiling, dates, every_day
from experiments.data.sources.locales import LOCALES
from experiments.data.sources.table import load
from transformer import schema
from transformer.errors import UserError

SMALL = DataConfig(examples=3_001, evaluation_examples=301)


def days_of(pairs):
    return {pair.target for pair in pairs}


def calendars():
    """One year for each of the 14 calendars: what 1 January is, times leap or not."""
    found = {}
    for year in range(DatesConfig().first_year, DatesConfig().last_year + 1):
        first, last = datetime.date(year, 1, 1), datetime.date(year, 12, 31)
        found.setdefault((first.weekday(), (last - first).days), year)
    return sorted(found.values())


@pytest.mark.parametrize("year", calendars())
def test_no_string_stands_for_two_days(year):
    """With the next test, of the whole range: years of one calendar differ in the year alone."""
    config = DatesConfig(first_year=year, last_year=year)
    assert ceiling(config, every_day(config)) == 1.0


def test_every_string_holds_its_year():
    splits = load(dataclasses.replace(SMALL, examples=20_011), 5)
    for pair in splits.train:
        assert [int(number) for number in re.findall(r"\d{3,}", pair.source)] == [int(pair.target[:4])], pair


def test_ceiling_sees_days_that_two_locales_write_alike():
    config = DatesConfig(locales=("en_US", "en_GB"), formats=("short",))
    days = [datetime.date(2026, 11, 5), datetime.date(2026, 5, 11), datetime.date(2026, 11, 20)]
    assert ceiling(config, days) == 1.0  # 11/5/26 and 05/11/2026
    alike = DatesConfig(locales=("en_US", "es"), formats=("short",))
    assert ceiling(alike, days) == 4 / 6


def test_default_locales_are_many_and_all_are_drawn():
    assert len(set(LOCALES)) == len(LOCALES) >= 45
    assert {pair.group for pair in load(SMALL, 0).train} == set(LOCALES)


def test_splits_have_no_day_in_common_and_most_days_are_learned_from():
    splits = load(dataclasses.replace(SMALL, examples=50_021), 1)
    train, validation, test = days_of(splits.train), days_of(splits.validation), days_of(splits.test)
    assert train.isdisjoint(validation | test)
    assert validation.isdisjoint(test)
    assert len(train) > 0.6 * len(every_day(DatesConfig()))
    assert min(len(validation), len(test)) > 200


def test_splits_are_a_function_of_the_seed():
    assert load(SMALL, 3) == load(SMALL, 3)
    assert days_of(load(SMALL, 3).validation) & days_of(load(SMALL, 4).train)


def test_number_of_training_examples_changes_neither_validation_nor_test():
    fewer = load(dataclasses.replace(SMALL, examples=7), 3)
    splits = load(SMALL, 3)
    assert (len(fewer.train), len(splits.train)) == (7, 3_001)
    assert (fewer.validation, fewer.test) == (splits.validation, splits.test)


@pytest.mark.parametrize(
    ("locale", "style", "source"),
    [
        ("fr", "full", "vendredi 20 novembre 2026"),
        ("ko", "full", "2026년 11월 20일 금요일"),
        ("de", "medium", "20.11.2026"),
        ("ja", "medium", "2026/11/20"),
        ("el", "long", "20 Νοεμβρίου 2026"),
    ],
)
def test_source_is_what_cldr_writes_and_target_is_iso(locale, style, source):
    config = DataConfig(
        examples=2_003,
        evaluation_examples=1,
        dates=DatesConfig(locales=(locale,), formats=(style,), first_year=2026, last_year=2026),
    )
    splits = [dates(config, seed) for seed in range(2)]  # the day is learned from in one of two seeds at least
    assert {pair.target for split in splits for pair in split.train if pair.source == source} == {"2026-11-20"}


def test_locale_with_a_hyphen_is_the_one_with_an_underscore():
    with_hyphen = dataclasses.replace(SMALL, dates=DatesConfig(locales=("pt-BR",)))
    with_underscore = dataclasses.replace(SMALL, dates=DatesConfig(locales=("pt_BR",)))
    assert load(with_hyphen, 2) == load(with_underscore, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"locales": ("fr", "pt_BRR")}, "pt_BR"),
        ({"locales": ("",)}, "unknown locale"),
        ({"locales": ()}, "at least one locale"),
        ({"formats": ("long", "lang")}, "full, long, medium"),
        ({"formats": ()}, "full, long, medium"),
    ],
)
def test_unknown_locale_or_format_is_a_user_error_by_setting_and_by_call(wrong, message):
    with pytest.raises(UserError, match=message):
        load(DataConfig(dates=DatesConfig(**wrong)), 0)
    with pytest.raises(UserError, match=message):
        schema.from_dict(DatesConfig, wrong, "data.dates")


def test_years_out_of_order_or_range_are_user_errors():
    with pytest.raises(UserError, match="last_year is before"):
        load(DataConfig(dates=DatesConfig(first_year=2000, last_year=1999)), 0)
    with pytest.raises(UserError, match="from 1 to 9999"):
        schema.from_dict(DatesConfig, {"first_year": 10_000}, "data.dates")


def test_unknown_source_is_a_user_error():
    with pytest.raises(UserError, match="Did you mean 'dates'"):
        load(DataConfig(source="date"), 0)
