"""A loaded model is a model as any: captured and patched by name, and part of it taken into another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.golden.files import load
from tests.golden.make_interop import CASES
from tests.interop.checkpoints import checkpoint, write
from transformer.interop import load_pretrained

ONE_OF_EACH = ("gpt2", "bert_bare", "marian", "t5_gated", "llama_yarn", "qwen3_windows", "t5gemma", "modernbert")


def captured_and_patched(name, directory):
    """Return the maps of attention of each stack, and the results with and without a patch of its first layer."""
    record = load(f"interop_{name}")
    model, params, *_ = load_pretrained(write(record, directory))
    inputs = {key: record[key] for key in ("source", "source_lengths", "target") if key in record}
    names = [f"{stack}.*.self.weights" for stack in model.stacks]
    stack = list(model.stacks)[-1]
    plain = model.apply(params, inputs, capture=names)
    patched = model.apply(params, inputs, replace={f"{stack}.0.self.head.1": jnp.zeros_like})
    return plain, patched


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x == "bert_bare" else pytest.mark.more) for x in ONE_OF_EACH]
)
def test_attention_of_a_checkpoint_is_captured_and_patched_by_name(name, tmp_path):
    plain, patched = captured_and_patched(name, tmp_path)
    for weights in plain["captured"].values():
        sums = np.asarray(weights).sum(-1)
        assert np.all((np.abs(sums - 1) < 1e-5) | (sums == 0))
    assert np.abs(np.asarray(patched["hidden"]) - plain["hidden"]).max() > 1e-3


def test_the_families_that_are_captured_are_all(tmp_path):
    assert {name.split("_")[0] for name in ONE_OF_EACH} == {name.split("_")[0] for name in CASES}


@pytest.mark.more
def test_an_encoder_stands_in_a_seq2seq_model(tmp_path):
    model, params, *_ = load_pretrained(checkpoint("bert_bare", tmp_path))
    same = ("width", "num_heads", "feed_forward_width", "norm_placement", "norm_epsilon", "activation", "position")
    settings = {name: getattr(model.config, name) for name in same}
    settings |= {"vocab_size": 23, "max_length": 19, "num_encoder_layers": 2, "num_decoder_layers": 1}
    seq2seq = transformer.build({"architecture": "seq2seq", **settings})
    own = seq2seq.init(1)
    own = {**own, "encoder": params["encoder"]}
    source = np.array([[3, 4, 5]])
    given = model.apply(params, {"source": source}, capture=("encoder.embedding",))
    out = seq2seq.apply(
        own,
        {"source": source, "target": np.array([[1, 2]])},
        replace={"encoder.embedding": given["captured"]["encoder.embedding"]},
        capture=("encoder.1.residual",),
    )
    np.testing.assert_allclose(jax.tree.leaves(out["captured"])[0][0], given["hidden"], rtol=1e-5, atol=1e-5)


def test_settings_of_speed_and_training_may_be_given(tmp_path):
    loaded = load_pretrained(checkpoint("gpt2", tmp_path), dropout=0.1, dtype="bfloat16")
    assert (loaded.model.config.dropout, loaded.model.config.dtype) == (0.1, "bfloat16")
    out = loaded.model.apply(loaded.params, {"target": np.array([[1, 2]])})
    assert out["hidden"].dtype == jnp.bfloat16
