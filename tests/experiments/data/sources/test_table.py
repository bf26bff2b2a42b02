"""Sources, the kinds of data they give, and the settings that they read."""

import pytest

from experiments.data.config import DataConfig
from experiments.data.examples import LABELS, PAIRS, TEXT
from experiments.data.sources.table import SOURCES, load
from transformer import schema
from transformer.errors import UserError


@pytest.mark.parametrize("name", ["path", "source_path", "target_path", "validation_path", "test_path"])
@pytest.mark.parametrize(("source", "kind"), [("dates", PAIRS), ("source_code", TEXT), ("date_language", LABELS)])
def test_a_path_that_the_source_does_not_read_is_an_error(name, source, kind):
    value = ("x",) if name.startswith(("validation", "test")) else "x"
    with pytest.raises(UserError, match=rf"data\.{name} is not read by data\.source '{source}'.*data.source=files"):
        load(DataConfig(source=source, **{name: value}), 0, kind)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", [TEXT, PAIRS, LABELS])
def test_a_source_without_the_kind_has_an_error_with_its_kinds_and_other_sources(source, kind):
    kinds = SOURCES[source].kinds
    if kind in kinds or (kind == PAIRS and LABELS in kinds):
        return
    with pytest.raises(UserError, match=f"'{source}' does not give {kind}") as error:
        load(DataConfig(source=source), 0, kind)
    assert f"a source of {', '.join(kinds)}" in str(error.value)
    assert "files" in str(error.value)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(UserError, match=r"unknown kind of data.*'pairs'"):
        load(DataConfig(), 0, "pair")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"path": ""}, "data.path"),
        ({"validation_path": ["a", "b", "c"]}, "one path, or"),
        ({"validation_path": []}, "one path, or"),
        ({"too_long": "drop"}, "refuse"),
        ({"files": {"format": "csv"}}, "tsv"),
        ({"files": {"split": "start"}}, "tail"),
        ({"files": {"test_share": 1.0}}, "0.999999"),
    ],
)
def test_settings_are_checked_by_the_schema(wrong, message):
    with pytest.raises(UserError, match=message):
        schema.from_dict(DataConfig, wrong, "data")
