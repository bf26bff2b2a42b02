"""Claims about recipes: each is a module like any other, under a name of its own."""

import pickle
import sys
from pathlib import Path

import pytest

from experiments.cli.recipes import load_recipe, load_recipe_and_sweep
from transformer.errors import UserError

ROOT = Path(__file__).parents[3]
RECIPE = """
from __future__ import annotations
import dataclasses, pickle, typing
from experiments.settings import defaults

@dataclasses.dataclass
class Sizes:
    width: int = {width}

SIZES = Sizes()

def get_config():
    assert typing.get_type_hints(Sizes) == {{"width": int}}
    c = defaults()
    c.model.width = pickle.loads(pickle.dumps(SIZES)).width
    return c

def get_sweep():
    return {{"model.num_layers": [SIZES]}}
"""


def test_a_recipe_with_postponed_annotations_and_a_dataclass_is_read(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE.format(width=16))
    config, sweep = load_recipe_and_sweep(path)
    assert config.model.width == 16
    (sizes,) = sweep["model.num_layers"]
    assert pickle.loads(pickle.dumps(sizes)) == sizes


def test_a_bare_name_is_that_of_a_recipe_of_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_recipe("dates") == load_recipe(ROOT / "configs" / "dates.py")
    for name in ("dates.py", "date"):
        with pytest.raises(UserError, match=rf"recipe {name} does not exist; .* Did you mean dates\?"):
            load_recipe(name)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "dates.py").touch()
    with pytest.raises(UserError, match=r"recipe date does not exist; .* Did you mean configs/dates.py\?"):
        load_recipe("date")


def test_recipes_of_one_name_in_two_folders_hide_neither_each_other_nor_a_module(tmp_path):
    for name, width in (("a", 8), ("b", 12)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "json.py").write_text(RECIPE.format(width=width))
    before, widths, kept = sys.modules["json"], [], []
    for name in ("a", "b", "a"):
        config, sweep = load_recipe_and_sweep(tmp_path / name / "json.py")
        widths.append(config.model.width)
        kept += sweep["model.num_layers"]
    assert widths == [8, 12, 8]
    assert len({type(sizes).__module__ for sizes in kept}) == 2
    assert pickle.loads(pickle.dumps(kept[1])) == kept[1]
    assert sys.modules["json"] is before


def test_a_recipe_that_has_changed_is_read_anew_and_one_that_fails_leaves_no_module(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE.format(width=8))
    load_recipe(path)
    path.write_text(RECIPE.format(width=20))
    assert load_recipe(path).model.width == 20
    path.write_text("raise RuntimeError('it fails')")
    before = set(sys.modules)
    with pytest.raises(UserError, match="line 1: RuntimeError: it fails"):
        load_recipe(path)
    assert set(sys.modules) < before
