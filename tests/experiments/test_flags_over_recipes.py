"""A flag wins over the recipe: what takes the place of what, what is refused, and what is left out with a note."""

import hypothesis
import pytest
from hypothesis import given
from ml_collections import ConfigDict

from experiments import settings
from experiments.comparing import configs
from experiments.settings import Config, defaults, resolve
from tests.fixtures.commands import error_of
from tests.fixtures.configs import DATES, LEAVES, override_error, overrides
from transformer import build, schema
from transformer.errors import UserError

CONTRADICTIONS = ("is not read by", "is not divisible by", "lacks tokenizer.path", "cannot be trained by")


@hypothesis.settings(deadline=None)
@given(overrides())
def test_a_flag_wins_over_the_recipe_and_changes_nothing_else(override):
    name, value = override
    hypothesis.assume(name != "sizes_from_data")  # chooses others
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
    changed = configs.differences(before, settings.to_json_dict(config))
    assert all(row[0] == name or row[0].startswith(f"{name}_settings.") for row in changed)  # a row brings its own
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


def test_recipes_take_fast_kernels_where_the_architecture_has_any():
    assert resolve(defaults())[0].model.kernels == "fast"
    config, notes = resolve(defaults(), [("model.architecture", "rnn_seq2seq")])
    assert (config.model.kernels, notes) == ("plain", [])
    refused = error_of(resolve, defaults(), [("model.architecture", "rnn_seq2seq"), ("model.kernels", "fused")])
    assert refused.startswith("model.kernels is not read by architecture 'rnn_seq2seq'; got 'fused'")


def test_what_attention_alone_reads_is_noted_where_nothing_attends():
    nothing = [("model.self_attention", "false"), ("model.cross_attention", "false")]
    assert resolve(defaults(), nothing)[1] == []
    for name, text in [("num_heads", "2"), ("score", "additive"), ("attention.sink", "true")]:
        (note,) = resolve(defaults(), [*nothing, (f"model.{name}", text)])[1]
        assert note.startswith(f"model.{name} = {text} changes nothing: it is not read by architecture 'seq2seq' with")
        assert resolve(defaults(), [*nothing[:1], (f"model.{name}", text)])[1] == []


def test_a_stored_config_loses_what_this_version_does_not_read():
    stored = settings.to_json_dict(Config())
    stored["model"].update(remat=False, remat_policy="all_but_linear")
    stored["task"]["name"], stored["data"]["source"] = "classification", "date_language"
    stored["model"].update(architecture="encoder_only", tie_embeddings=False)
    config = settings.from_stored(stored)
    assert (config.model.remat, config.model.remat_policy, config.model.tie_embeddings) == (False, "everything", True)
    assert configs.differences(stored, settings.to_json_dict(config)) == []
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
