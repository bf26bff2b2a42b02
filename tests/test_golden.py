"""Ours equals PyTorch's, from files that PyTorch wrote: no torch is needed here (see golden/make_golden.py)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.speeds import core_of
from tests.golden.files import load
from tests.golden.recurrent_case import check_recurrent
from tests.golden.torch_layout import as_jax, assert_close, attention, part, seq2seq
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.kernels import WAYS
from transformer.ops.linear import linear
from transformer.ops.losses import cross_entropy
from transformer.ops.norms import layer_norm, rms_norm

ATTENTIONS = {
    "attention_self": masks.causal(),
    "attention_cross": masks.everything(),
    "attention_12_heads": masks.everything(),
}
"""File -> what restricts its queries beside padding."""

TRANSFORMERS = {
    "transformer_post_relu": {"norm_placement": "post", "activation": "relu"},
    "transformer_pre_gelu": {"norm_placement": "pre", "activation": "gelu"},
}


class GoldenAttention:
    """One file: PyTorch's inputs and parameters, and our multi-head attention on them, written with `ops` alone."""

    def __init__(self, name: str):
        self.record = load(name)
        self.heads = self.record["weights"].shape[1]
        self.params = as_jax(attention(part(self.record, "state."), self.heads))
        self.inputs = as_jax({x: self.record[x] for x in ("target", "source") if x in self.record})
        self.mask = ATTENTIONS[name] & masks.padding(jnp.asarray(self.record["lengths"]))

    def project(self, params: dict, inputs: dict) -> list[jax.Array]:
        source = inputs.get("source", inputs["target"])
        xs = {"query": inputs["target"], "key": source, "value": source}
        return [linear(x, **params[owner]) for owner, x in xs.items()]

    def output(self, params: dict, inputs: dict, kernels: str = "plain") -> jax.Array:
        head_BTNH = attend(*self.project(params, inputs), mask=self.mask, kernels=kernels)
        return linear(head_BTNH, **params["output"], inputs=2)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_weights_of_each_head_are_those_of_torch(name):
    golden = GoldenAttention(name)
    query, key, _ = golden.project(golden.params, golden.inputs)
    assert_close(attention_weights(query, key, mask=golden.mask), golden.record["weights"])


@pytest.mark.parametrize("kernels", WAYS)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_multi_head_attention_and_its_gradients_are_those_of_torch(name, kernels):
    golden = GoldenAttention(name)
    cotangent_BTD = jnp.asarray(golden.record["cotangent"])

    def loss(params: dict, inputs: dict) -> tuple[jax.Array, jax.Array]:
        output_BTD = golden.output(params, inputs, kernels)
        return jnp.sum(output_BTD * cotangent_BTD), output_BTD

    gradients, output_BTD = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(golden.params, golden.inputs)
    params, inputs = gradients
    expected = part(golden.record, "grad.")
    assert_close(output_BTD, golden.record["output"])
    assert_close(inputs, {name: expected[name] for name in inputs})
    if "in_proj_weight" in expected:
        assert_close(params, attention(expected, golden.heads))


class GoldenTransformer:
    """One file: PyTorch's parameters and batch, and our model on them."""

    num_heads = 2

    def __init__(self, name: str, kernels: str):
        self.record = load(name)
        state = part(self.record, "state.")
        vocab_size, width = state["source_embedding.weight"].shape
        encoder_linear, decoder_linear = (
            state[f"transformer.{stack}.layers.*.linear1.weight"] for stack in ("encoder", "decoder")
        )
        config = {
            "architecture": "seq2seq",
            "vocab_size": vocab_size,
            "width": width,
            "num_heads": self.num_heads,
            "feed_forward_width": encoder_linear.shape[1],
            "num_encoder_layers": len(encoder_linear),
            "num_decoder_layers": len(decoder_linear),
            "position": "none",
            "tie_embeddings": False,
            "kernels": kernels,
        }
        self.model = transformer.build(config | TRANSFORMERS[name])
        self.params = as_jax(seq2seq(state, self.num_heads))
        names = ("source", "target", "source_lengths")
        self.batch = {name: jnp.asarray(self.record[name]) for name in names}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_the_model_has_the_parameters_of_torch_and_no_others(name):
    golden = GoldenTransformer(name, "plain")
    ours = jax.eval_shape(golden.model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, golden.params)


CORE = [("transformer_post_relu", "plain"), ("transformer_pre_gelu", "fast")]


@pytest.mark.parametrize(
    ("name", "kernels"),
    core_of(itertools.product(TRANSFORMERS, WAYS), lambda case: case in CORE),
)
def test_a_whole_seq2seq_model_and_its_gradients_are_those_of_torch(name, kernels):
    golden = GoldenTransformer(name, kernels)
    cotangent_BTV = jnp.asarray(golden.record["cotangent"])

    def loss(params: dict) -> tuple[jax.Array, dict]:
        out = golden.model.apply(params, golden.batch)
        return jnp.sum(out["logits"] * cotangent_BTV), out

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(golden.params)
    assert_close(out, {name: golden.record[name] for name in ("logits", "hidden")})
    for stack, kept in {"encoder": slice(0, 1), "decoder": slice(-1, None)}.items():  # see make_golden
        gradients[stack]["blocks"] = jax.tree.map(lambda x, kept=kept: x[kept], gradients[stack]["blocks"])
    expected = seq2seq(part(golden.record, "grad."), golden.num_heads)
    assert_close(gradients, expected, tolerance=2e-5)  # eight blocks there and back: 5e-6 is what is seen


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_recurrent_layers_read_both_ways_and_their_gradients_are_those_of_torch(kind):
    check_recurrent(load(f"recurrent_{kind}"), kind)


def functional_cases() -> dict:
    """Name -> (our function of arrays, its arguments' names, the cotangent's name); what it reads is in the file."""
    record = load("functional")
    epsilon, smoothing = float(record["epsilon"]), float(record["smoothing"])
    labels_BT = jnp.asarray(record["labels"])
    return {
        "layer_norm": (
            lambda x, scale, bias: layer_norm(x, scale, bias, epsilon),
            ("x", "scale", "bias"),
            "cotangent",
        ),
        "rms_norm": (lambda x, scale: rms_norm(x, scale, epsilon), ("x", "scale"), "cotangent"),
        "cross_entropy": (lambda logits: cross_entropy(logits, labels_BT), ("logits",), "cotangent_tokens"),
        "cross_entropy_smoothed": (
            lambda logits: cross_entropy(logits, labels_BT, smoothing),
            ("logits",),
            "cotangent_tokens",
        ),
    }


@pytest.mark.parametrize("name", functional_cases())
def test_norms_and_losses_and_their_gradients_are_those_of_torch(name):
    record = load("functional")
    function, arguments, cotangent = functional_cases()[name]
    ours, pull_back = jax.vjp(function, *(jnp.asarray(record[argument]) for argument in arguments))
    assert_close(ours, record[name])
    gradients = dict(zip(arguments, pull_back(jnp.asarray(record[cotangent])), strict=True))
    assert_close(gradients, part(record, f"grad.{name}."))


def test_the_golden_values_are_large_enough_for_the_tolerance_to_mean_something():
    for name in (*ATTENTIONS, *TRANSFORMERS):
        for entry, array in load(name).items():
            if entry in ("output", "hidden", "logits", "grad.target", "grad.target_embedding.weight"):
                assert np.sqrt(np.mean(array**2)) > 0.1, (name, entry)
