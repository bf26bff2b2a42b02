"""A recipe and its flags give one checked config; every mistake raises an error before anything starts."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given

from experiments import settings
from experiments.settings import Config, defaults, resolve
from tests.fixtures.commands import error_of
from tests.fixtures.configs import LEAVES, RECIPES, overrides
from transformer import schema


def recipe_error(folder: Path, source: str) -> str:
    path = folder / "mine.py"
    path.write_text(textwrap.dedent(source))
    return error_of(settings.load_recipe, path)


# The schema


def test_every_setting_has_a_meaning_and_an_allowed_default_of_its_type():
    assert [leaf.name for leaf in LEAVES.values() if not leaf.meaning] == []
    assert {leaf.name: schema.checked(leaf.default, leaf) for leaf in LEAVES.values()} == {
        leaf.name: leaf.default for leaf in LEAVES.values()
    }


def test_the_text_of_every_default_is_read_as_the_default():
    assert {leaf.name: schema.parse(schema.show(leaf.default), leaf) for leaf in LEAVES.values()} == {
        leaf.name: leaf.default for leaf in LEAVES.values()
    }


def test_the_sections_have_their_fixed_names():
    names = ["model", "task", "data", "tokenizer", "optimizer", "training", "decoding", "mesh"]
    assert list(schema.sections(Config)) == names


@hypothesis.settings(deadline=None)
@given(overrides())
def test_a_config_with_any_setting_changed_comes_back_from_json(override):
    name, value = override
    values = {}
    section = values
    *path, last = name.split(".")
    for part in path:
        section = section.setdefault(part, {})
    section[last] = value
    config = settings.from_json_dict(values)
    again = settings.from_json_dict(json.loads(json.dumps(settings.to_json_dict(config))))
    assert again == config
    assert schema.flatten(settings.to_json_dict(again))[name] == (list(value) if isinstance(value, tuple) else value)


# Recipes


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_recipe_resolves_without_notes(path):
    config, notes = resolve(settings.load_recipe(path))
    assert isinstance(config, Config)
    assert notes == []


def test_a_recipe_may_lie_anywhere_and_nothing_is_written_beside_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from experiments.settings import defaults\ndef get_config():\n    return defaults()\n")
    assert resolve(settings.load_recipe(path))[0] == schema.with_values(Config(), settings.OF_RECIPES)
    assert list(tmp_path.iterdir()) == [path]


def test_a_recipe_changed_a_moment_ago_is_read_again(tmp_path):
    path = tmp_path / "mine.py"
    source = "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': %d})\n"
    for seed in (3, 5):
        path.write_text(source % seed)
        assert resolve(settings.load_recipe(path))[0].seed == seed


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("x = 1", ["does not define get_config"]),
        ("get_config = 1", ["does not define get_config"]),
        ("def get_confg(): pass", ["does not define get_config", "Did you mean get_confg?"]),
        ("def get_config(): pass", ["returns another type", "got None", "ConfigDict", "return c"]),
        ("def get_config(): return {}", ["returns another type", "got dict"]),
        ("def get_config(size): return {}", ["TypeError", "size"]),
        ("x = 1\nimport no_such_package", ["line 2", "ModuleNotFoundError", "no_such_package"]),
        ("x = 1\n\ndef get_config(:", ["line 3", "SyntaxError"]),
        ("x = 'a\0b'", ["SyntaxError", "null bytes"]),
        ("def f():\n    return 1 / 0\ndef get_config():\n    return f()", ["line 2", "ZeroDivisionError"]),
        (
            "from experiments.settings import defaults\ndef get_config():\n    return defaults(task='text_to_txt')",
            ["line 3: unknown value of task.name", "'text_to_txt'", "Did you mean 'text_to_text'?"],
        ),
        (
            "from experiments.settings import defaults\ndef get_config():\n    return defaults().modle",
            ["line 3", "modle"],
        ),
    ],
)
def test_the_error_of_a_mistake_in_a_recipe_names_its_line(tmp_path, source, parts):
    line = recipe_error(tmp_path, source)
    assert line.startswith(("recipe ", "get_config of recipe "))
    for part in ["mine.py", *parts]:
        assert part in line


def test_the_error_of_a_missing_recipe_names_the_nearest_one(tmp_path):
    (tmp_path / "dates.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    for name in ("date.py", "dates", "dates.yaml", "Dates.py"):
        line = error_of(settings.load_recipe, tmp_path / name)
        assert f"{name} does not exist" in line
        assert f"Did you mean {tmp_path / 'dates.py'}?" in line
    assert "not a Python file" in error_of(settings.load_recipe, tmp_path / "notes.txt")
    assert str(tmp_path / "dates.py") in error_of(settings.load_recipe, tmp_path)
    assert f"no folder {tmp_path / 'no'}" in error_of(settings.load_recipe, tmp_path / "no" / "dates.py")


def test_a_setting_at_none_can_be_given_a_number_in_a_recipe_and_unset_again():
    recipe = defaults()
    recipe.model.dropout = 0
    recipe.model.dropout = 0.25
    recipe.optimizer.clip_norm = None
    recipe.optimizer.learning_rate = 1
    config, _ = resolve(recipe)
    assert config.model.dropout == 0.25
    assert config.optimizer.clip_norm is None
    assert config.optimizer.learning_rate == 1.0


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda c: c.model.update(widht=8), ["unknown setting model.widht", "Did you mean model.width?"]),
        (lambda c: c.update(modle={"width": 8}), ["unknown setting modle.width", "Did you mean model.width?"]),
        (lambda c: c.model.update(steps=8), ["model.steps", "Did you mean training.steps?"]),
        (lambda c: setattr(c, "model", 3), ["model is a section", "3"]),
        (lambda c: c.model.update(width="wide"), ["model.width has the wrong type", "'wide' (str)", "int"]),
        (lambda c: c.model.update(width={}), ["model.width has the wrong type"]),
        (lambda c: c.training.update(steps=0), ["training.steps is out of range", "from 1 to 2^31 - 1"]),
    ],
)
def test_a_wrong_setting_of_a_recipe_is_not_taken_for_a_flags(change, parts):
    recipe = defaults()
    change(recipe)
    line = error_of(resolve, recipe, [("seed", "3")])
    assert line.startswith("in the recipe: ")
    for part in parts:
        assert part in line


# Help


def test_help_names_every_section_in_one_line_each():
    lines = settings.help_text().splitlines()
    for name in [*schema.sections(Config), "seed"]:
        assert sum(line.split()[0] == name for line in lines) == 1
    assert "--help=SECTION" in lines[0]


@pytest.mark.parametrize("section", schema.sections(Config))
def test_help_of_a_section_lists_all_of_each_setting_within_100_columns(section):
    text = settings.help_text(section)
    assert max(map(len, text.splitlines())) <= 100
    words = "".join(text.split())  # wrapping may break any line
    inside = [leaf for leaf in LEAVES.values() if leaf.name.startswith(section + ".")]
    assert inside
    for leaf in inside:
        row = next(line for line in text.splitlines() if line.startswith(f"  {leaf.name} "))
        assert leaf.type_name in row
        for part in (leaf.meaning, schema.show(leaf.default), ",".join(leaf.allowed or ())):
            assert "".join(part.split()) in words


def test_help_lists_ranges_paths_and_what_may_differ_on_resume():
    text = settings.help_text("model")
    assert "from 1 to 2^31 - 1" in " ".join(text.split())
    assert "from 0 to 0.999999" in " ".join(text.split())
    assert "package.module:attribute" in text
    assert "may differ on resume" in " ".join(text.split())


def test_help_of_a_sub_section_or_a_setting_lists_only_that():
    assert "model.embedding.scale" in settings.help_text("model.embedding")
    assert "\n  model.width " not in settings.help_text("model.embedding")
    assert "num_heads" not in settings.help_text("config.model.width")
    assert "from 0 to 2^32" in settings.help_text("seed")


@pytest.mark.parametrize(
    ("typed", "meant"), [("modle", "model"), ("training.outputs", "training"), ("width", "model.width")]
)
def test_help_of_an_unknown_section_names_the_nearest(typed, meant):
    line = error_of(settings.help_text, typed)
    assert f"Did you mean --help={meant}" in line
    assert "model, task, data" in line


def test_help_is_quick_since_nothing_heavy_is_imported():
    heavy = ["orbax", "grain", "matplotlib", "tensorboardX", "torch"]
    code = f"import sys, experiments.settings; print([m for m in {heavy} if m in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"
