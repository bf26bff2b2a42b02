"""Files whose tensors have other names or repeat each other, as those of the hub do, give the same parameters."""

import jax
import numpy as np
import pytest

from tests.golden.files import load
from tests.interop.checkpoints import tensors_of, write
from transformer.interop import load_pretrained

rng = np.random.default_rng(0)


def named(tensors, change):
    return {change(name): x for name, x in tensors.items()}


def without_prefix(prefix):
    return lambda tensors: named(tensors, lambda name: name.removeprefix(prefix))


def with_others(*others):
    """Add tensors that are no parameters of the model, or belong to other heads."""
    return lambda tensors: tensors | {name: rng.normal(size=(3, 4)).astype(np.float32) for name in others}


def earlier_norms(tensors):
    """Return the names of norms in the first files of BERT."""
    ends = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    return named(
        tensors, lambda name: next((name.removesuffix(x) + y for x, y in ends.items() if name.endswith(x)), name)
    )


def copy_of(copy, original, *, alone=False):
    """Add a copy of a tensor, or put it in the place of the original."""

    def change(tensors):
        kept = {name: x for name, x in tensors.items() if not (alone and name == original)}
        return kept | {copy: tensors[original]}

    return change


SPELLINGS = {
    "a body without its prefix": ("gpt2", without_prefix("transformer."), ()),
    "masks of GPT-2": ("gpt2", with_others("transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"), ()),
    "a copy of the tied table": ("gpt2", copy_of("lm_head.weight", "transformer.wte.weight"), ()),
    "norms of the first files": ("bert", earlier_norms, ()),
    "heads that are not loaded": (
        "bert",
        with_others("cls.seq_relationship.weight", "bert.pooler.dense.weight"),
        ("bert.pooler.dense.weight", "cls.seq_relationship.weight"),
    ),
    "a second bias of the logits": ("bert", copy_of("cls.predictions.decoder.bias", "cls.predictions.bias"), ()),
    "the second bias alone": ("bert", copy_of("cls.predictions.decoder.bias", "cls.predictions.bias", alone=True), ()),
    "sinusoids of Marian": ("marian", with_others("model.encoder.embed_positions.weight"), ()),
    "tables of both sides": ("marian", copy_of("model.decoder.embed_tokens.weight", "model.shared.weight"), ()),
    "a table of one side alone": ("t5", copy_of("encoder.embed_tokens.weight", "shared.weight", alone=True), ()),
    "rates of rotary positions": ("llama", with_others("model.layers.0.self_attn.rotary_emb.inv_freq"), ()),
}
"""Difference -> the case, the change of its tensors, and what is listed as unused."""


@pytest.mark.parametrize("what", SPELLINGS)
def test_files_with_other_names_give_the_same_parameters(what, tmp_path):
    case, change, unused = SPELLINGS[what]
    record = load(f"interop_{case}")
    expected = load_pretrained(write(record, tmp_path / "first"))
    found = load_pretrained(write(record, tmp_path / "second", change(tensors_of(record))))
    assert found.unused == unused
    assert found.model.config == expected.model.config
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)


def test_the_longest_sequence_of_training_is_that_of_the_model_where_a_scaling_has_none(tmp_path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = load_pretrained(write(load("interop_llama"), tmp_path, rope_parameters=scaling)).model.config
    assert (config.position, config.position_settings.original_length) == ("rotary_llama3", 64)


def test_rotary_positions_of_earlier_configs_are_those_of_today(tmp_path):
    record = load("interop_llama_yarn")
    today = load_pretrained(write(record, tmp_path / "today")).model.config
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
    earlier = {"rope_parameters": None, "rope_theta": 500.0, "rope_scaling": scaling}
    assert load_pretrained(write(record, tmp_path / "earlier", **earlier)).model.config == today


def test_the_norm_that_a_first_layer_lacks_has_its_initial_values(tmp_path):
    params = load_pretrained(write(load("interop_modernbert"), tmp_path)).params
    scale_LD = np.asarray(params["encoder"]["blocks"]["self_norm"]["scale"])
    np.testing.assert_array_equal(scale_LD[0], 1.0)
    assert (scale_LD[1:] != 1.0).any()
