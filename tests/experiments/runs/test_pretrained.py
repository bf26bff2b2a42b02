"""Claims about runs that start from a checkpoint of Hugging Face: settings, ids, heads, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import settings
from experiments.comparing import configs
from experiments.runs import report
from experiments.runs.init_from import check_fit, first_states, open_origin, read_origin, with_settings
from experiments.runs.origin import InitFrom
from experiments.storage.checkpoint_format import read_arrays
from experiments.storage.workdir import Start, open_workdir
from experiments.training.experiment import set_up
from tests.fixtures.pretrained import BERT, GPT2, SPARE, WORDS, classification, language_modelling, write_checkpoint
from transformer import schema
from transformer.errors import UserError
from transformer.interop import load_pretrained

BARE = {**BERT, "token_head": {"present": False}}
CLASSES = {**BERT, "class_head": {"classes": 2, "transform": "tanh", "reads": "first"}}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A checkpoint of BERT's body."""
    path = tmp_path_factory.mktemp("bert") / "model"
    write_checkpoint(path, BARE)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A checkpoint of a classifier with the labels of the recipe, in another order."""
    path = tmp_path_factory.mktemp("classifier") / "model"
    write_checkpoint(path, CLASSES, {"id2label": {"0": "tell", "1": "ask"}})
    return path


def begun(source: Path, recipe: Any, flags: dict[str, str] | None = None, **wish: Any):
    """A new experiment from a checkpoint, the origin as it was read, and the lines about it."""
    recipe, asked = with_settings(recipe, InitFrom(str(source), **wish))
    config, notes = settings.resolve(recipe, (flags or {}).items())
    origin = open_origin(asked)
    experiment = set_up(config, origin.run_data(config))
    return experiment, origin, [*notes, *check_fit(experiment, origin).splitlines()]


def params_of(experiment: Any, origin: Any) -> Any:
    return first_states(experiment, origin)(experiment.hyperparameters).params


def test_settings_of_the_checkpoint_replace_the_recipes_and_a_flag_wins(bert, tmp_path):
    experiment, origin, lines = begun(bert, classification(tmp_path), {"model.activation": "relu"})
    model = experiment.config.model
    assert (model.width, model.num_heads, model.num_layers, model.window) == (6, 2, 2, None)
    assert (model.position, model.norm_placement, model.norm_epsilon, model.max_length) == (
        "learned",
        "post",
        1e-12,
        20,
    )
    assert model.dropout == 0.1, "a rate of dropout is the training's"
    assert model.class_head.reads == "first"
    assert model.activation == "relu"
    line = "Settings that differ from those of {0}: model.activation relu (gelu there)"
    assert line.format(bert) in lines
    (taken,) = [line for line in lines if line.startswith(f"Settings from {bert}: ")]
    assert "model.width 6, " in taken
    assert "activation" not in taken
    assert not [line for line in lines if "is left out" in line]
    assert origin.record["settings"]["model.width"] == 6


def test_a_text_has_the_hidden_states_that_the_checkpoint_computes(bert, tmp_path):
    experiment, origin, _ = begun(bert, classification(tmp_path))
    text, pretrained = "the dog zzz ?", load_pretrained(bert)
    batch = next(experiment.task.questions([text], 1))
    ours = experiment.model.apply(params_of(experiment, origin), {"source": batch["source"][:, :5]})["hidden"]
    ids = [WORDS.index(word) for word in ("[CLS]", "the", "dog", "[UNK]", "?")]
    theirs = pretrained.model.apply(pretrained.params, {"source": np.array([ids])})["hidden"]
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=1e-6)


def test_special_rows_are_copies_of_the_checkpoints_own_or_the_mean(bert, tmp_path):
    write_checkpoint(tmp_path / "gpt2", GPT2, {"bos_token_id": 5, "eos_token_id": [7, 8], "mask_token_id": 10**6})
    for file in ("tokenizer.json", "special_tokens_map.json"):
        (tmp_path / "gpt2" / file).unlink()
    rows = {}
    for name, path in (("bert", bert), ("gpt2", tmp_path / "gpt2")):
        table = np.asarray(load_pretrained(path).params["embedding"]["table"])
        found = open_origin(InitFrom(str(path))).source.params["embedding.table"]
        assert np.array_equal(found[6:], table)
        equal = [np.flatnonzero((table == row).all(axis=1)).tolist() for row in found[:6]]
        rows[name] = [one[0] if one else None for one in equal]
        for row, one in zip(found[:6], equal, strict=True):
            assert one or np.allclose(row, table.mean(axis=0), atol=1e-6)
    assert rows["bert"] == [0, 2, 3, 3, 4, 1]
    assert rows["gpt2"] == [None, 5, 7, 7, None, None]


def test_the_decoder_behind_an_encoder_begins_with_its_start_token(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "model")
    config = json.loads((bert / "config.json").read_text())
    for is_pair, row in ((True, 9), (False, 2)):
        new = {**config, "decoder_start_token_id": 9, "is_encoder_decoder": is_pair}
        (tmp_path / "model" / "config.json").write_text(json.dumps(new))
        table = open_origin(InitFrom(str(tmp_path / "model"))).source.params["embedding.table"]
        assert np.array_equal(table[1], table[6 + row])


def test_a_class_head_is_taken_with_the_same_labels_in_their_order_and_else_fresh(classifier, tmp_path):
    experiment, origin, lines = begun(classifier, classification(tmp_path))
    assert experiment.config.model.class_head.transform == "tanh"
    assert "25 of 25 arrays" in lines[0]
    head = np.asarray(load_pretrained(classifier).params["class_head"]["kernel"])
    assert experiment.task.classes == ("ask", "tell")
    assert np.array_equal(params_of(experiment, origin)["class_head"]["kernel"], head[:, ::-1])

    shutil.copytree(classifier, tmp_path / "model")
    config = json.loads((classifier / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "id2label": {"0": "a", "1": "b"}}))
    experiment, origin, lines = begun(tmp_path / "model", classification(tmp_path))
    assert lines[0].endswith("fresh: class_head")
    fresh = experiment.initial_state(experiment.hyperparameters).params["class_head"]["kernel"]
    assert np.array_equal(params_of(experiment, origin)["class_head"]["kernel"], fresh)
    with pytest.raises(UserError, match=r"class_head\.kernel: over other labels"):
        begun(
            tmp_path / "model",
            classification(tmp_path),
            {"model.class_head.transform": "tanh", "model.width": "6", "model.num_heads": "2"},
            only=("class_head",),
        )


def test_the_pooler_of_a_body_is_taken_where_the_class_head_has_its_map(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "model")
    config = json.loads((classifier / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}))
    pooler = np.asarray(load_pretrained(classifier).params["class_head"]["transform"]["dense"]["kernel"])
    tanh = {"model.class_head.transform": "tanh"}
    experiment, origin, lines = begun(tmp_path / "model", classification(tmp_path), tanh)
    assert lines[0].endswith("fresh: class_head")
    assert np.array_equal(params_of(experiment, origin)["class_head"]["transform"]["dense"]["kernel"], pooler)
    _, _, lines = begun(tmp_path / "model", classification(tmp_path))
    assert lines[0].endswith("fresh: class_head; not in this model: class_head.transform.dense")


def test_with_parts_no_settings_of_the_model_are_taken_and_the_line_names_those_that_differ(bert, tmp_path):
    sizes = {"model.width": "6", "model.num_heads": "2", "model.num_layers": "2", "model.norm_placement": "post"}
    experiment, origin, lines = begun(bert, classification(tmp_path), sizes, only=("encoder",))
    assert experiment.config.tokenizer.name == "words"
    assert origin.record["settings"] == {}
    assert not [line for line in lines if line.startswith("Settings from")]
    (differ,) = [line for line in lines if line.startswith("Settings that differ")]
    assert "model.norm_epsilon 1e-05 (1e-12 there)" in differ
    assert "model.window 3 (none there)" in differ
    kept, _, _ = begun(bert, classification(tmp_path), sizes, only=("encoder", "embedding"))
    assert kept.config.tokenizer.name == "file"
    assert kept.config.model.vocab_size == 6 + len(WORDS) + SPARE
    assert kept.config.model.position == "sinusoidal"


def test_a_language_model_continues_a_checkpoint_of_one(tmp_path):
    write_checkpoint(tmp_path / "gpt2", GPT2, {"eos_token_id": 3})
    experiment, origin, lines = begun(tmp_path / "gpt2", language_modelling(tmp_path))
    assert lines[0].endswith(" 20 of 20 arrays, the tokenizer kept")
    assert experiment.config.model.max_length == 40
    (ids,) = next(experiment.task.prompts(["the cat"], 1))["target"][:, :3].tolist()
    assert ids == [1, 6 + WORDS.index("the"), 6 + WORDS.index("cat")]
    ours = experiment.model.apply(params_of(experiment, origin), {"target": np.array([ids])})["logits"]
    pretrained = load_pretrained(tmp_path / "gpt2")
    theirs = pretrained.model.apply(pretrained.params, {"target": np.array([[2, 5, 6]])})["logits"]
    np.testing.assert_allclose(np.asarray(ours)[..., 6:], np.asarray(theirs), rtol=0, atol=1e-6)
    np.testing.assert_allclose(np.asarray(ours)[..., 2], np.asarray(theirs)[..., 3], rtol=0, atol=1e-6)


def test_settings_of_a_row_of_the_checkpoints_are_taken_too(tmp_path):
    llama = {
        **{"architecture": "decoder_only", "position": "rotary", "norm": "rms", "bias": False, "max_length": 64},
        **{"activation": "swiglu", "width": 8, "num_heads": 2, "num_layers": 1, "vocab_size": 13},
        **{"embedding": {"scale": False}, "token_head": {"tied": False}},
    }
    scaling = {"rope_type": "linear", "factor": 8.0}
    write_checkpoint(tmp_path / "llama", llama, {"rope_scaling": scaling, "rope_parameters": None})
    experiment, _, lines = begun(tmp_path / "llama", language_modelling(tmp_path))
    model = experiment.config.model
    assert (str(model.position), model.position_settings.factor) == ("rotary_linear", 8.0)
    assert "model.position_settings.factor 8.0" in lines[-1], lines


def test_a_run_that_was_started_has_its_settings_when_the_checkpoint_is_gone(bert, tmp_path):
    shutil.copytree(bert, tmp_path / "model")
    recipe, wish = classification(tmp_path), InitFrom(str(tmp_path / "model"))
    experiment, origin, _ = begun(tmp_path / "model", recipe)
    config = json.loads(json.dumps(settings.to_json_dict(experiment.config)))
    start = Start(origin=origin.record)
    open_workdir(tmp_path / "run", config, differences=configs.differences, devices="", start=start).close()
    assert read_origin(tmp_path / "run", None).record == origin.record
    (tmp_path / "run" / "checkpoints" / "2").mkdir(parents=True)
    shutil.rmtree(tmp_path / "model")
    for asked in (wish, None):
        again, _ = with_settings(recipe, asked, tmp_path / "run")
        now = schema.flatten(settings.to_json_dict(settings.resolve(again)[0]))
        assert {name: now[name] for name in origin.record["settings"]} == origin.record["settings"]
        assert read_origin(tmp_path / "run", asked) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("last", ["is one checkpoint, of Hugging Face; got @last. Leave it out."]),
        ("model.safetensors", ["no safetensors file, or not all of it is there"]),
        ("config.json", ["unknown family", "'brt'", "Did you mean 'bert'?"]),
        ("tokenizer.json", ["has no tokenizer", "--init_skip=embedding"]),
        ("too large", ["ids beyond the model's vocabulary"]),
        ("shape", ["1 array of this model", "there, ", "--init_skip=input.positions"]),
    ],
)
def test_a_mistake_is_named(bert, tmp_path, change, expected):
    path = tmp_path / "model"
    shutil.copytree(bert, path)
    flags = {}
    if change == "model.safetensors":
        (path / change).write_bytes((path / change).read_bytes()[:-100])
    elif change == "config.json":
        (path / change).write_text(json.dumps({"model_type": "brt"}))
    elif change == "tokenizer.json":
        (path / change).unlink()
    elif change == "too large":
        text = (path / "tokenizer.json").read_text().replace('"?":10', '"?":99').replace('"?": 10', '"?": 99')
        (path / "tokenizer.json").write_text(text)
    elif change == "shape":
        flags = {"model.max_length": "30"}
    with pytest.raises(UserError) as error:
        begun(Path(f"{path}@last") if change == "last" else path, classification(tmp_path), flags)
    for part in ["--init_from=", *expected]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt2", "gpt2 does not exist; .* hf download gpt2 --local-dir gpt2$"),
        ("google/t5", "hf download google/t5 --local-dir t5$"),
        ("tests/bert", "tests/bert does not exist"),
        ("./gpt2", "gpt2 does not exist"),
        ("a/b/c", "c does not exist"),
    ],
)
def test_what_is_no_directory_has_the_command_that_would_download_it(name, expected):
    with pytest.raises(UserError, match=expected):
        open_origin(InitFrom(name))


@pytest.mark.more
def test_a_run_trains_on_from_a_checkpoint_and_continues_to_the_bit_when_that_is_gone(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "draw_run", lambda _: {})
    shutil.copytree(bert, tmp_path / "model")
    recipe = classification(tmp_path)

    def trained(name: str, steps: int, wish: InitFrom | None) -> dict[str, np.ndarray]:
        found, asked = with_settings(recipe, wish, tmp_path / name)
        flags = {"training.steps": str(steps), "optimizer.schedule": "constant"}
        config, notes = settings.resolve(found, flags.items())
        assert report.train_and_report(config, tmp_path / name, notes, ["experiments.train"], init=asked) == 0
        return read_arrays(tmp_path / name / "checkpoints" / str(steps))

    wish = InitFrom(str(tmp_path / "model"))
    whole = trained("whole", 4, wish)
    trained("parts", 2, wish)
    shutil.rmtree(tmp_path / "model")
    parts = trained("parts", 4, None)
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)
