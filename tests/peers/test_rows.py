"""Rows of the tables, buckets of distances and rules of fixed tokens are those of Hugging Face's own functions."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.peers.families import V, pair
from transformer.decoding import Banned, Beam, Forced, Greedy, Sampling, generate
from transformer.nn.feed_forward import ACTIVATIONS
from transformer.ops.norms import rms_norm_plus_one
from transformer.ops.positions import buckets
from transformer.ops.rotary_scaling import (
    LinearScaling,
    Llama3Scaling,
    YarnScaling,
    rotary_linear,
    rotary_llama3,
    rotary_yarn,
)

pytestmark = pytest.mark.peers


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("relu", "relu"),
        ("gelu", "gelu"),
        ("gelu_tanh", "gelu_new"),
        ("gelu_tanh", "gelu_pytorch_tanh"),
        ("silu", "swish"),
        ("silu", "silu"),
        ("swiglu", "silu"),
        ("geglu", "gelu"),
        ("geglu_tanh", "gelu_new"),
        ("geglu_tanh", "gelu_pytorch_tanh"),
    ],
)
def test_activations_are_those_of_hugging_face(ours, theirs, torch, hugging_face):
    x = np.linspace(-9, 9, 500).astype(np.float32)
    expected = hugging_face.activations.ACT2FN[theirs](torch.from_numpy(x).double())
    np.testing.assert_allclose(ACTIVATIONS[ours].function(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-6)


def test_the_rms_norm_plus_one_is_gemmas(torch, hugging_face):
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    random = np.random.default_rng(0)
    x, scale = random.normal(size=(2, 3, 8)).astype(np.float32) * 3, random.normal(size=8).astype(np.float32)
    theirs = GemmaRMSNorm(8, eps=1e-3)
    theirs.weight.data = torch.from_numpy(scale)
    expected = theirs(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(rms_norm_plus_one(jnp.asarray(x), jnp.asarray(scale), 1e-3), expected, rtol=1e-5)


LLAMA3 = {"low_freq_factor": 1.5, "high_freq_factor": 9.0}
YARN = {"beta_fast": 12.0, "beta_slow": 1.5, "attention_factor": 0.7, "truncate": False}
SCALINGS = {
    "linear": (rotary_linear, {"factor": 3.0}, LinearScaling(3.0)),
    "llama3, of Llama 3.1": (
        rotary_llama3,
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        Llama3Scaling(),
    ),
    "llama3": (
        rotary_llama3,
        {"factor": 3.0, **LLAMA3, "original_max_position_embeddings": 300},
        Llama3Scaling(3.0, 1.5, 9.0, 300),
    ),
    "yarn, of the paper": (rotary_yarn, {"factor": 16.0, "original_max_position_embeddings": 4096}, YarnScaling()),
    "yarn, of Qwen3": (
        rotary_yarn,
        {"factor": 4.0, "original_max_position_embeddings": 32768},
        YarnScaling(factor=4.0, original_length=32768),
    ),
    "yarn": (
        rotary_yarn,
        {"factor": 5.0, **YARN, "original_max_position_embeddings": 400},
        YarnScaling(5.0, 400, 12.0, 1.5, 0.7, False),
    ),
}


@pytest.mark.parametrize("name", SCALINGS)
@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
@pytest.mark.parametrize("width", [8, 64, 128])
def test_rotary_scaling_is_that_of_hugging_face(name, base, width, torch, hugging_face):
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    function, parameters, settings = SCALINGS[name]
    kind = name.partition(",")[0]
    config = hugging_face.LlamaConfig(
        hidden_size=2 * width,
        num_attention_heads=2,
        head_dim=width,
        max_position_embeddings=10**6,
        rope_parameters={"rope_type": kind, "rope_theta": base, **parameters},
    )
    rates, factor = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"))
    at = np.array([0, 1, 77])
    angles = at[:, None] * rates.numpy().astype(np.float64)
    # A one in the first half of each pair becomes its cosine and its sine.
    x = jnp.concatenate([jnp.ones((1, 3, 1, width // 2)), jnp.zeros((1, 3, 1, width // 2))], axis=-1)
    expected = factor * np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)
    for given in (base, jnp.float32(base)):
        found = function(x, jnp.asarray(at), given, settings)[0, :, 0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("size", "max_distance"), [(32, 128), (8, 20)])
def test_buckets_of_distances_are_those_of_t5(size, max_distance, causal, torch, hugging_face):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = np.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(torch.from_numpy(distances), not causal, size, max_distance)
    np.testing.assert_array_equal(buckets(jnp.asarray(distances), size, max_distance, causal=causal), expected)


PROMPT, STEPS = 4, 6


@pytest.mark.parametrize("index", [0, 2, STEPS - 1])
def test_rules_of_fixed_tokens_are_the_processors_of_hugging_face(index, torch, hugging_face):
    processors = hugging_face.generation.logits_process
    logits = np.random.default_rng(index).normal(size=(3, V)).astype(np.float32)
    ids = torch.ones((3, PROMPT + index), dtype=torch.long)
    first = torch.ones((3, 1 + index), dtype=torch.long)  # forced_bos_token_id: behind one token
    for rule, processor, written in (
        (Banned((3, 11)), processors.NoBadWordsLogitsProcessor([[3], [11]]), ids),
        (Banned((3, 11)), processors.SuppressTokensLogitsProcessor([3, 11]), ids),
        (Banned((3, 11), True), processors.SuppressTokensAtBeginLogitsProcessor([3, 11], PROMPT), ids),
        (Forced(5), processors.ForcedBOSTokenLogitsProcessor(5), first),
        (Forced(5, last=True), processors.ForcedEOSTokenLogitsProcessor(PROMPT + STEPS, 5), ids),
    ):
        found = rule.apply(jnp.asarray(logits), rule.start(jnp.zeros((3, 0)), jnp.zeros(3), STEPS), index, STEPS)
        np.testing.assert_array_equal(found, processor(written, torch.from_numpy(logits.copy())), err_msg=str(rule))


@pytest.mark.parametrize("width", [1, 3])
def test_answers_under_rules_of_fixed_tokens_are_those_of_hugging_face(width, torch, hugging_face, make_golden):
    theirs, model, params = pair("gpt2", hugging_face, make_golden, seed=12)
    theirs.generation_config.eos_token_id = None
    prompts_BT = np.random.default_rng(5).integers(1, V, size=(4, 1))  # of one token: forced_bos_token_id
    banned = [1, 2, 4]
    tokens = theirs.generate(
        torch.from_numpy(prompts_BT),
        attention_mask=torch.ones((4, 1), dtype=torch.long),
        do_sample=False,
        max_length=1 + STEPS,
        pad_token_id=0,
        eos_token_id=0,
        num_beams=width,
        length_penalty=0.0,
        bad_words_ids=[[token] for token in banned],
        forced_bos_token_id=7,
        forced_eos_token_id=9,
    ).numpy()[:, 1:]
    tokens = np.pad(tokens, [(0, 0), (0, STEPS - tokens.shape[1])])
    strategy = Greedy() if width == 1 else Beam(width, 0.0)
    batch = {"target": jnp.asarray(prompts_BT, jnp.int32), "target_lengths": jnp.ones(4, jnp.int32)}
    rules = (Banned(banned), Forced(7), Forced(9, last=True))
    found = generate(model, params, batch, steps=STEPS, end=0, strategy=strategy, rules=rules)
    np.testing.assert_array_equal(found.tokens, tokens)
    assert set(tokens[:, 0]) == {7}
    drawn = generate(model, params, batch, steps=STEPS, end=None, strategy=Sampling(), rules=rules, key=0)
    assert set(np.asarray(drawn.tokens)[:, -1]) == {9}
    assert not np.isin(drawn.tokens, banned).any()
