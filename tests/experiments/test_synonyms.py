"""Names of other libraries lead to this project's own, by every route."""

import pytest
from ml_collections import ConfigDict

from experiments.settings import resolve
from tests.fixtures.commands import error_of
from tests.fixtures.configs import LEAVES, override_error
from transformer import build
from transformer.models.batch import ENTRIES
from transformer.synonyms import OURS


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
