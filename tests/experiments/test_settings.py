"""A recipe and its flags give one checked config; every mistake raises an error before anything starts."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_collections import ConfigDict

from experiments import settings
from experiments.settings import Config, defaults, resolve
from tests.fixtures.commands import error_of
from transformer import build, schema
from transformer.errors import UserError
from transformer.models.batch import ENTRIES
from transformer.synonyms import OURS

LEAVES = schema.settings(Config)
RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def override_error(*overrides: tuple[str, str]) -> str:
    return error_of(resolve, defaults(), overrides)


def recipe_error(folder: Path, source: str) -> str:
    path = folder / "mine.py"
    path.write_text(textwrap.dedent(source))
    return error_of(settings.load_recipe, path)


FUNCTIONS = {
    "model.attention.score_modifier": "tests.fixtures.own_masks:halve",
    "model.attention.mask": "tests.fixtures.own_masks:band",
}
"""Setting -> a function of a user's own."""


@st.composite
def overrides(draw):
    """The name of one setting, and a value that it allows."""
    leaf = draw(st.sampled_from(list(LEAVES.values())))
    values = {
        bool: st.booleans(),
        int: st.integers(1, 5000),
        float: st.floats(1e-6, 2.0),
        str: st.sampled_from(leaf.allowed or ("a", "b")),
    }[leaf.part_type]
    if leaf.check is not None:
        values = values.filter(lambda value: leaf.check(value) is None)
    if leaf.name in FUNCTIONS:
        values = st.just(FUNCTIONS[leaf.name])
    if leaf.is_tuple:
        values = st.just((leaf.default or ("a",))[:1])
    return leaf.name, draw(values)


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
    names = ["model", "task", "data", "tokenizer", "optimizer", "training", "decoding"]
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
    assert resolve(settings.load_recipe(path))[0] == Config()
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


# Flags over recipes

CONTRADICTIONS = ("is not read by", "is not divisible by", "lacks tokenizer.path", "cannot be trained by")


@hypothesis.settings(deadline=None)
@given(overrides())
def test_a_flag_wins_over_the_recipe_and_changes_nothing_else(override):
    name, value = override
    recipe = defaults()
    before = recipe.to_dict()
    try:
        config, notes = resolve(recipe, [(name, schema.show(value))])
    except UserError as error:  # what no setting is wrong about alone
        known = any(text in str(error) for text in CONTRADICTIONS)
        if not known:
            raise
        return
    assert recipe.to_dict() == before
    assert notes == []
    changed = settings.differences(before, settings.to_json_dict(config))
    assert [row[0] for row in changed] in ([name], [])
    assert schema.flatten(schema.to_dict(config))[name] == (list(value) if isinstance(value, tuple) else value)


def test_flags_set_what_is_none_and_unset_what_is_not():
    config, _ = resolve(defaults(), [("model.dropout", "0.1"), ("optimizer.clip_norm", "none")])
    assert config.model.dropout == 0.1
    assert config.optimizer.clip_norm is None


def test_what_refers_to_a_setting_follows_the_flag():
    recipe = defaults()
    recipe.model.feed_forward_width = recipe.model.get_ref("width") * 3
    config, _ = resolve(recipe, [("model.width", "64")])
    assert config.model.feed_forward_width == 192
    assert recipe.model.feed_forward_width == 3 * recipe.model.width == 384


def test_what_a_recipe_leaves_out_takes_its_default():
    config, _ = resolve(ConfigDict({"model": {"width": 64}}), [("training.output.keep_last", "3")])
    assert (config.model.width, config.training.output.keep_last) == (64, 3)
    assert config.data == Config().data


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("model.widht", "8", ["unknown setting model.widht", "Did you mean model.width?", "--help=model"]),
        ("modle.width", "8", ["unknown setting modle.width", "Did you mean model.width?"]),
        ("optimiser.name", "adamw", ["Did you mean optimizer.name?"]),
        ("model.batch_size", "8", ["Did you mean training.batch_size?"]),
        ("training.log_every", "8", ["Did you mean training.output.log_every?"]),
        ("width", "8", ["Did you mean model.width?"]),
        ("zzz.qqq", "8", ["unknown setting zzz.qqq", "model, task, data"]),
        ("", "8", ["unknown setting ''"]),
        ("model", "8", ["model is a section", "model.architecture", "--help=model"]),
        ("model.embedding", "8", ["model.embedding is a section", "model.embedding.scale"]),
        ("model.width.x", "8", ["unknown setting model.width.x"]),
        ("model.width", "wide", ["model.width has the wrong type", "'wide'", "int"]),
        ("model.width", "none", ["model.width has the wrong type", "'none'", "int"]),
        ("model.bias", "maybe", ["model.bias", "'maybe'", "true or false"]),
        ("model.dropout", "1.0", ["model.dropout is out of range", "1.0", "0 to 0.999999"]),
        ("model.score", "no_such_package:cosine", ["model.score", "No module named 'no_such_package'"]),
        ("model.norm", "lyaer", ["model.norm", "'lyaer'", "layer, rms", "Did you mean 'layer'?"]),
        ("model.width", "130", ["width 130", "num_heads 4", "model.head_width"]),
        ("model.num_kv_heads", "3", ["num_heads 4", "num_kv_heads 3"]),
        ("training.accumulation", "5", ["batch_size 64", "accumulation 5"]),
    ],
)
def test_the_error_of_a_wrong_flag_names_its_setting_what_was_given_and_what_is_allowed(name, text, parts):
    line = override_error((name, text))
    for part in parts:
        assert part in line


def test_contradictions_between_recipe_and_flag_are_seen():
    recipe = defaults()
    recipe.model.num_heads = 8
    assert resolve(recipe, [("model.width", "120")])[0].model.width == 120
    assert "not divisible" in error_of(resolve, recipe, [("model.width", "132")])


# What a flag takes the place of

DATES = next(path for path in RECIPES if path.name == "dates.py")
LAYERS = ("num_layers", "num_encoder_layers", "num_decoder_layers")


@pytest.mark.parametrize(
    ("flags", "layers", "left_out"),
    [
        ({}, (4, 2, 2), []),
        ({"num_layers": "6"}, (6, 6, 6), ["num_encoder_layers = 2", "num_decoder_layers = 2"]),
        ({"num_layers": "6", "num_encoder_layers": "3"}, (6, 3, 6), ["num_decoder_layers = 2"]),
        ({"num_encoder_layers": "3"}, (4, 3, 2), []),
        ({"architecture": "rnn_seq2seq", "num_layers": "1"}, (1, 1, 1), [f"{name} = 2" for name in LAYERS[1:]]),
    ],
)
def test_given_layers_take_the_place_of_the_recipes_two_depths(flags, layers, left_out):
    config, notes = resolve(settings.load_recipe(DATES), [(f"model.{name}", text) for name, text in flags.items()])
    assert tuple(getattr(config.model.resolved(), name) for name in LAYERS) == layers
    assert notes == [
        f"model.{what} of the recipe is left out: model.num_layers is given in its place." for what in left_out
    ]


def test_a_depth_that_refers_to_the_layers_follows_them():
    recipe = settings.load_recipe(DATES)
    recipe.model.num_decoder_layers = recipe.model.get_ref("num_layers") * 2
    config, notes = resolve(recipe, [("model.num_layers", "3")])
    assert (config.model.num_encoder_layers, config.model.num_decoder_layers) == (None, 6)
    assert len(notes) == 1


def test_layers_beside_both_depths_are_refused_and_those_of_a_recipe_or_a_stored_config_kept():
    flags = [(f"model.{name}", str(3 + number)) for number, name in enumerate(LAYERS)]
    line = error_of(resolve, settings.load_recipe(DATES), flags)
    assert line.startswith("model.num_layers is not read by a config with model.num_encoder_layers 4 and")
    assert "only with one of model.num_encoder_layers and model.num_decoder_layers set to none." in line
    assert "model.num_layers is not read by" in error_of(build, {"vocab_size": 9, **dict.fromkeys(LAYERS, 3)})
    stored = settings.to_json_dict(resolve(settings.load_recipe(DATES))[0])
    assert settings.from_json_dict(stored).model.resolved().num_layers == stored["model"]["num_layers"] == 4


def test_a_given_batch_size_takes_the_place_of_the_recipes_tokens():
    recipe = defaults()
    recipe.training.update(batch_tokens=640, accumulation=5)
    config, notes = resolve(recipe, [("training.batch_size", "50")])
    assert (config.training.batch_size, config.training.batch_tokens) == (50, None)
    assert notes == [
        "training.batch_tokens = 640 of the recipe is left out: training.batch_size is given in its place."
    ]
    assert "training.batch_size is not read by" in error_of(
        resolve, recipe, [("training.batch_size", "50"), ("training.batch_tokens", "640")]
    )


def test_of_the_tokenizer_too_only_what_a_flag_gives_is_refused():
    recipe = defaults()
    recipe.tokenizer.update(name="bpe", vocab_size=400)
    config, notes = resolve(recipe, [("tokenizer.name", "characters")])
    assert config.tokenizer.vocab_size is None
    assert notes == ["tokenizer.vocab_size = 400 of the recipe is left out: tokenizer 'characters' does not read it."]
    line = error_of(resolve, recipe, [("tokenizer.name", "characters"), ("tokenizer.vocab_size", "400")])
    assert line.startswith("tokenizer.vocab_size is not read by tokenizer 'characters'; got 400; expected it only with")


@pytest.mark.parametrize(
    "flags",
    [
        "model.unroll=true model.remat=true",
        "data.too_long=cut",
        "data.source=files data.validation_path=v data.files.validation_share=0.1",
        "data.source=files data.test_path=v data.files.test_share=0.1",
        "data.source=files data.test_path=v data.validation_path=w data.files.split=tail",
        "data.source=files data.path=a.tsv data.files.source_field=x",
    ],
)
def test_a_flag_that_another_one_overrides_is_refused(flags):
    pairs = [flag.split("=") for flag in flags.split()]
    assert any(f"{name} is not read by " in override_error(*pairs) for name, _ in pairs)
    assert "is not read" not in " ".join(resolve(defaults(), pairs[:-1])[1])


def test_fused_kernels_in_vain_are_noted_and_a_recipe_may_ask_for_them():
    wish = ("model.kernels", "fast")
    for name, text in [
        ("model.score", "additive"),
        ("model.attention.sink", "true"),
        ("model.attention.soft_cap", "3"),
    ]:
        config, (note,) = resolve(defaults(), [wish, (name, text)])
        assert config.model.kernels == "fast"
        assert note.startswith("model.kernels = fast changes nothing: it is not read by attention of this score")
    alibi = [wish, ("model.position", "alibi")]
    assert resolve(defaults(), alibi)[1] == []  # cross-attention has no bias
    assert len(resolve(defaults(), [*alibi, ("model.architecture", "encoder_only")])[1]) == 1
    recipe = defaults()
    recipe.model.kernels = "fast"
    assert resolve(recipe, [("model.score", "additive")])[1] == []


def test_what_attention_alone_reads_is_noted_where_nothing_attends():
    nothing = [("model.self_attention", "false"), ("model.cross_attention", "false")]
    assert resolve(defaults(), nothing)[1] == []
    for name, text in [("num_heads", "2"), ("score", "additive"), ("attention.sink", "true")]:
        (note,) = resolve(defaults(), [*nothing, (f"model.{name}", text)])[1]
        assert note.startswith(f"model.{name} = {text} changes nothing: it is not read by architecture 'seq2seq' with")
        assert resolve(defaults(), [*nothing[:1], (f"model.{name}", text)])[1] == []


def test_a_stored_config_loses_what_this_version_does_not_read():
    stored = settings.to_json_dict(Config())
    stored["model"].update(remat=True, unroll=True)
    stored["task"]["name"], stored["data"]["source"] = "classification", "date_language"
    stored["model"].update(architecture="encoder_only", tie_embeddings=False)
    config = settings.from_stored(stored)
    assert (config.model.unroll, config.model.remat, config.model.tie_embeddings) == (False, True, True)
    assert settings.differences(stored, settings.to_json_dict(config)) == []
    assert "model.tie_embeddings is not read by a classifier" in override_error(
        ("task.name", "classification"), ("model.architecture", "encoder_only"), ("model.tie_embeddings", "false")
    )
    classifier = [("task.name", "classification"), ("model.tie_embeddings", "false")]
    assert not resolve(defaults(), classifier)[0].model.tie_embeddings  # source and target have a table each


def test_a_recipes_shares_stay_beside_files_of_their_own_without_a_note():
    recipe = settings.load_recipe(DATES.with_name("trec.py"))
    config, notes = resolve(recipe, [("data.path", "a.tsv"), ("data.test_path", "b.tsv")])
    assert (config.data.files.test_share, notes) == (0.0, [])


def test_a_path_may_hold_a_comma():
    for text, paths in [("a,b", ("a", "b")), ('["a,b"]', ("a,b",)), ('["a,b", "c"]', ("a,b", "c")), ("[a]", ("[a]",))]:
        config, _ = resolve(defaults(), [("data.source", "files"), ("data.validation_path", text)])
        assert config.data.validation_path == paths
        again = schema.parse(schema.show(paths), LEAVES["data.validation_path"])
        assert again == paths


# Names of other libraries


def test_every_synonym_stands_for_a_name_that_there_is():
    parts = {part for name in LEAVES for part in name.split(".")}
    values = {value for leaf in LEAVES.values() for value in (*(leaf.allowed or ()), "true", "false")}
    flags = {"workdir", "config", "input", "checkpoint", "trials", "workers"}
    entries = {*ENTRIES, "labels", "loss_weights"}
    assert set(OURS) - parts - values - flags - entries == set()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "optimizer.learning_rate"),
        ("model.lr", "optimizer.learning_rate"),
        ("optimizer.b2", "optimizer.beta2"),
        ("d_model", "model.width"),
        ("model.hidden_size", "model.width"),
        ("n_head", "model.num_heads"),
        ("num_attention_heads", "model.num_heads"),
        ("model.n_layer", "model.num_layers"),
        ("d_ff", "model.feed_forward_width"),
        ("position", "model.position"),
        ("dropout_rate", "model.dropout"),
        ("training.epochs", "training.steps"),
        ("optimizer.eps", "optimizer.epsilon"),
        ("rope_theta", "model.rotary_base"),
    ],
)
def test_a_name_of_another_library_leads_to_ours_by_every_route(typed, meant):
    assert f"Did you mean {meant}?" in override_error((typed, "1"))
    recipe = ConfigDict()
    section, _, last = f"config.{typed}".removeprefix("config.").rpartition(".")
    recipe.update({section: {last: 1}} if section else {last: 1})
    assert f"Did you mean {meant}?" in error_of(resolve, recipe)


@pytest.mark.parametrize(
    ("name", "typed", "meant"),
    [
        ("model.position", "rope", "rotary"),
        ("model.norm", "RMSNorm", "rms"),
        ("model.norm", "'rms'", "rms"),
        ("model.norm_placement", "Pre-LN", "pre"),
        ("model.activation", "gelu_new", "gelu_tanh"),
        ("model.score", "bahdanau", "additive"),
        ("model.architecture", "gpt", "decoder_only"),
        ("model.dtype", "bf16", "bfloat16"),
        ("optimizer.name", "adam", "adamw"),
        ("optimizer.schedule", "noam", "inverse_sqrt"),
        ("task.name", "translation", "text_to_text"),
        ("tokenizer.name", "char", "characters"),
    ],
)
def test_a_value_of_another_library_leads_to_ours(name, typed, meant):
    assert f"Did you mean '{meant}'?" in override_error((name, typed))


@pytest.mark.parametrize(
    ("key", "guess"),
    [("d_model", "'width'"), ("dropout_rate", "'dropout'"), ("cell", '{"recurrent": {"cell": ...}}')],
)
def test_a_key_of_another_library_leads_to_ours_in_python(key, guess):
    assert f"Did you mean {guess}?" in error_of(build, {"vocab_size": 9, key: 1})


# Two configs


def test_a_setting_that_neither_config_reads_is_no_difference():
    old = settings.to_json_dict(resolve(settings.load_recipe(DATES))[0])
    new = json.loads(json.dumps(old))
    new["model"]["num_layers"] = 9  # the depths of both stacks are set
    new["data"]["files"]["split"] = "tail"  # the source is dates
    assert settings.differences(old, new) == []
    new["model"]["num_decoder_layers"] = None
    assert [name for name, *_ in settings.differences(old, new)] == ["model.num_layers", "model.num_decoder_layers"]


def test_differences_are_named_with_both_values_and_whether_they_matter():
    old = settings.to_json_dict(resolve(defaults(), [("model.width", "64")])[0])
    new = settings.to_json_dict(resolve(defaults(), [("training.output.log_every", "7")])[0])
    assert settings.differences(old, new) == [
        ("model.width", 64, 128, True),
        ("training.output.log_every", 50, 7, False),
    ]
    assert settings.differences(old, old) == []


@pytest.mark.parametrize(("name", "text"), [("evaluate_every", "7"), ("best", "bleu"), ("log_every", "7")])
def test_with_patience_what_decides_when_training_ends_may_not_differ_on_resume(name, text):
    for patience, decides in ((None, False), ("3", name != "log_every")):
        flags = [("training.patience", patience)] if patience else []
        old, new = (
            settings.to_json_dict(resolve(defaults(), [*flags, *more])[0])
            for more in ([], [(f"training.output.{name}", text)])
        )
        ((found, *_, matters),) = settings.differences(old, new)
        assert (found, matters) == (f"training.output.{name}", decides)


def test_a_setting_that_an_older_version_lacked_counts_as_its_default():
    old, new = settings.to_json_dict(Config()), settings.to_json_dict(Config())
    del old["seed"], old["model"]["norm"]
    assert settings.differences(old, new) == []
    new["seed"] = 5
    assert settings.differences(old, new) == [("seed", 0, 5, True)]
    old["model"]["gone"] = 3
    assert settings.differences(old, new)[1:] == [("model.gone", 3, None, True)]


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
