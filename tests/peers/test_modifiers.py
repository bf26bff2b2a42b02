"""Ours equals what transformers has of each variant of attention: T5, BLOOM, Gemma 2, gpt-oss, DiffLlama."""

import importlib
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.differential import first_lambda, learned_lambda
from transformer.ops.modifiers import Modifiers
from transformer.ops.norms import rms_norm
from transformer.ops.positions import QueryKeyPositions, alibi, buckets

pytestmark = pytest.mark.peers
B, N, T, H = 2, 4, 6, 8


@pytest.fixture
def drawn():
    """Queries, keys and values, B T N H."""
    return [jnp.asarray(x, jnp.float32) for x in np.random.default_rng(0).standard_normal((3, B, T, N, H))]


@pytest.fixture
def ready(torch, drawn):
    """The same, B N T H, and the mask that is added."""
    added = torch.full((T, T), float("-inf")).triu(1)[None, None]
    return [torch.tensor(np.asarray(x)).transpose(1, 2) for x in drawn], added


def of(name):
    return importlib.import_module(f"transformers.models.{name}.modeling_{name}")


@pytest.mark.parametrize(("size", "furthest"), [(32, 128), (8, 20), (16, 100)])
@pytest.mark.parametrize("causal", [True, False])
def test_buckets_are_those_of_t5(torch, hugging_face, size, furthest, causal):
    distances = np.arange(-300, 301)
    bucket = of("t5").T5Attention._relative_position_bucket
    theirs = bucket(torch.from_numpy(distances), bidirectional=not causal, num_buckets=size, max_distance=furthest)
    assert np.array_equal(buckets(jnp.asarray(distances), size, furthest, causal=causal), theirs)


@pytest.mark.parametrize("heads", [1, 4, 6, 12])
def test_alibi_is_that_of_bloom_up_to_a_constant_of_each_row(torch, hugging_face, heads):
    """BLOOM adds slope x key position; a softmax does not see the slope x query position that it leaves out."""
    theirs = of("bloom").build_alibi_tensor(torch.ones(1, T), heads, torch.float32).reshape(heads, 1, T).numpy()
    place = jnp.arange(T)
    ours = (
        alibi(QueryKeyPositions(place, place), heads) + jnp.asarray(theirs[..., -1:] / max(T - 1, 1)) * place[:, None]
    )
    before = np.tril(np.ones((T, T), bool))
    np.testing.assert_allclose(ours[:, before], np.broadcast_to(theirs, (heads, T, T))[:, before], atol=1e-5)


def test_a_soft_cap_is_that_of_gemma_2(ready, hugging_face, drawn):
    (query, key, value), added = ready
    own = SimpleNamespace(num_key_value_groups=1, training=False)
    function = of("gemma2").eager_attention_forward
    head, weights = function(own, query, key, value, added, scaling=H**-0.5, softcap=0.7)
    modifiers = Modifiers(soft_cap=0.7)
    np.testing.assert_allclose(attend(*drawn, mask=masks.causal(), modifiers=modifiers), head, atol=1e-5)
    ours = attention_weights(*drawn[:2], mask=masks.causal(), modifiers=modifiers)
    np.testing.assert_allclose(ours, weights, atol=1e-5)


def test_a_sink_is_that_of_gpt_oss(torch, ready, hugging_face, drawn):
    (query, key, value), added = ready
    sink = np.linspace(-1.0, 2.0, N).astype(np.float32)
    own = SimpleNamespace(num_key_value_groups=1, training=False, sinks=torch.from_numpy(sink))
    head, weights = of("gpt_oss").eager_attention_forward(own, query, key, value, added, scaling=H**-0.5)
    modifiers = Modifiers(sink_N=jnp.asarray(sink))
    np.testing.assert_allclose(attend(*drawn, mask=masks.causal(), modifiers=modifiers), head, atol=1e-5)
    ours = attention_weights(*drawn[:2], mask=masks.causal(), modifiers=modifiers)
    np.testing.assert_allclose(ours, weights, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 3])
def test_differential_attention_is_that_of_diff_llama(torch, ready, hugging_face, drawn, layer):
    """Its heads n and n + N are the halves of ours; queries, keys and values are given instead of projected."""
    half, added = H // 2, ready[1]
    config = hugging_face.DiffLlamaConfig(
        hidden_size=N * H,
        num_attention_heads=2 * N,
        num_key_value_heads=2 * N,
        attention_dropout=0.0,
        attn_implementation="eager",
        rms_norm_eps=1e-5,
    )
    theirs = of("diffllama").DiffLlamaAttention(config, layer)
    halves = [np.concatenate(np.split(np.asarray(x), 2, axis=-1), axis=2).reshape(B, T, -1) for x in drawn]
    given = dict(zip(("q_proj", "k_proj", "v_proj"), halves, strict=True))
    for name, array in given.items():
        own = torch.nn.Identity()
        own.forward = lambda _, array=array: torch.from_numpy(array)
        setattr(theirs, name, own)
    theirs.o_proj = torch.nn.Identity()
    turns = torch.ones(B, T, half), torch.zeros(B, T, half)
    with torch.no_grad():
        expected = theirs(torch.zeros(B, T, N * H), turns, added)[0].reshape(B, T, N, H)

    def vector(side):
        return jnp.concatenate([jnp.asarray(getattr(theirs, f"lambda_{side}{i}").detach()) for i in (1, 2)])

    subtract = learned_lambda(vector("q"), vector("k"), layer)
    head = attend(*drawn, mask=masks.causal(), modifiers=Modifiers(subtract=subtract))
    ours = (1.0 - first_lambda(layer)) * rms_norm(head, jnp.ones(H), 1e-5)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
