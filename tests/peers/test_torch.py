"""Ours equals PyTorch's attention and Transformer over many configs. PyTorch computes in float64, ours in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transformer
from tests.golden.recurrent_case import check_recurrent
from tests.golden.torch_layout import as_jax, assert_close, attention, seq2seq, stack_layers
from transformer.ops import masks
from transformer.ops.attend import attend, attention_weights
from transformer.ops.linear import linear

pytestmark = pytest.mark.peers

several = settings(max_examples=15, deadline=None, derandomize=True)
"""Each example compiles anew; the same ones each time, so that a failure is the code's."""


@several
@given(
    seed=st.integers(0, 999),
    B=st.integers(1, 3),
    T=st.integers(1, 6),
    S=st.integers(1, 6),
    K=st.integers(1, 3),
    G=st.integers(1, 3),
    H=st.integers(1, 5),
    score=st.sampled_from(["dot", "scaled_dot"]),
    with_bias=st.booleans(),
)
def test_attend_and_its_gradients_are_scaled_dot_product_attention(
    torch, make_golden, seed, B, T, S, K, G, H, score, with_bias
):
    """Masks of any pattern, a bias, grouped heads; every query sees something, since PyTorch gives NaN otherwise."""
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.standard_normal(shape).astype(np.float32)

    arrays = {"query": normal(B, T, K * G, H), "key": normal(B, S, K, H), "value": normal(B, S, K, H)}
    allowed_BTS = random.random((B, T, S)) < 0.5
    allowed_BTS[..., random.integers(S)] = True
    if with_bias:
        arrays["bias"] = normal(K * G, T, S)
    cotangent_BTNH = normal(B, T, K * G, H)

    theirs = {name: make_golden.tensor(array) for name, array in arrays.items()}
    added = torch.zeros(B, 1, T, S, dtype=torch.float64)
    added = added.masked_fill(torch.from_numpy(~allowed_BTS)[:, None], -torch.inf) + theirs.get("bias", 0.0)
    expected_BTNH = torch.nn.functional.scaled_dot_product_attention(
        *(theirs[name].transpose(1, 2) for name in ("query", "key", "value")),
        attn_mask=added,
        scale=1.0 if score == "dot" else None,
        enable_gqa=True,
    ).transpose(1, 2)
    (expected_BTNH * torch.from_numpy(cotangent_BTNH)).sum().backward()

    def loss(arrays: dict) -> tuple[jax.Array, jax.Array]:
        mask = masks.given(jnp.asarray(allowed_BTS))
        q_k_v = (arrays[name] for name in ("query", "key", "value"))
        out_BTNH = attend(*q_k_v, mask=mask, bias=arrays.get("bias"), score=score)
        return jnp.sum(out_BTNH * cotangent_BTNH), out_BTNH

    gradients, out_BTNH = jax.jit(jax.grad(loss, has_aux=True))(as_jax(arrays))
    assert_close(out_BTNH, expected_BTNH.detach().numpy())
    assert_close(gradients, {name: x.grad.numpy() for name, x in theirs.items()})


@several
@given(
    seed=st.integers(0, 999),
    sizes=st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)),
    num_heads=st.sampled_from([1, 2, 3, 12]),
    head_width=st.integers(1, 5),
    cross=st.booleans(),
    causal=st.booleans(),
)
def test_weights_and_output_are_those_of_multi_head_attention(
    torch, make_golden, seed, sizes, num_heads, head_width, cross, causal
):
    random = np.random.default_rng(seed)
    (B, T, S), D = sizes, num_heads * head_width
    S = S if cross else T
    module = make_golden.randomise(torch.nn.MultiheadAttention(D, num_heads, batch_first=True), random)
    target_BTD = make_golden.normal(random, B, T, D)
    source_BSD = make_golden.normal(random, B, S, D) if cross else target_BTD
    lengths_B = random.integers(1, S + 1, size=B)
    hidden_TS = torch.ones(T, S, dtype=torch.bool).triu(1) if causal else None
    keys = make_golden.tensor(source_BSD)
    expected_BTD, expected_BNTS = module(
        make_golden.tensor(target_BTD),
        keys,
        keys,
        key_padding_mask=make_golden.hidden_keys(lengths_B, S),
        attn_mask=hidden_TS,
        average_attn_weights=False,
    )

    params = as_jax(attention(make_golden.state_of(module), num_heads))
    mask = masks.padding(jnp.asarray(lengths_B))
    mask = mask & masks.causal() if causal else mask
    inputs = {"query": target_BTD, "key": source_BSD, "value": source_BSD}
    query, key, value = (linear(jnp.asarray(x), **params[owner]) for owner, x in inputs.items())
    assert_close(attention_weights(query, key, mask=mask), expected_BNTS.detach().numpy())
    ours_BTD = linear(attend(query, key, value, mask=mask), **params["output"], inputs=2)
    assert_close(ours_BTD, expected_BTD.detach().numpy())


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("seed", range(3))
def test_a_seq2seq_model_and_all_its_gradients_are_those_of_torch(make_golden, seed, activation, norm_placement):
    random = np.random.default_rng(seed)
    encoder_layers, decoder_layers, B = (int(random.integers(1, 4)) for _ in range(3))
    T, S, V, F = (int(random.integers(2, 12)) for _ in range(4))
    N, H = ((1, 6), (3, 2), (12, 3))[seed]
    norm_first = norm_placement == "pre"
    layer = {"d_model": N * H, "nhead": N, "dim_feedforward": F, "norm_first": norm_first, "activation": activation}
    module = make_golden.randomise(make_golden.Seq2Seq(V, layer, encoder_layers, decoder_layers), random)
    source_BS, target_BT = random.integers(V, size=(B, S)), random.integers(V, size=(B, T))
    source_lengths_B, target_lengths_B = random.integers(1, S + 1, size=B), random.integers(1, T + 1, size=B)
    cotangent_BTV = make_golden.normal(random, B, T, V)
    _, logits_BTV = module(
        make_golden.tensor(source_BS),
        make_golden.tensor(target_BT),
        make_golden.hidden_keys(source_lengths_B, S),
        make_golden.hidden_keys(target_lengths_B, T),
    )
    (logits_BTV * make_golden.tensor(cotangent_BTV)).sum().backward()

    model = transformer.build(
        {
            "architecture": "seq2seq",
            "vocab_size": V,
            "width": N * H,
            "num_heads": N,
            "feed_forward_width": F,
            "num_encoder_layers": encoder_layers,
            "num_decoder_layers": decoder_layers,
            "activation": activation,
            "norm_placement": norm_placement,
            "position": "none",
            "tie_embeddings": False,
        }
    )
    lengths = {"source_lengths": source_lengths_B, "target_lengths": target_lengths_B}
    batch = {"source": source_BS, "target": target_BT} | lengths
    batch = {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}

    def loss(params: dict) -> tuple[jax.Array, jax.Array]:
        out = model.apply(params, batch)
        return jnp.sum(out["logits"] * cotangent_BTV), out["logits"]

    params = as_jax(seq2seq(stack_layers(make_golden.state_of(module)), N))
    gradients, ours_BTV = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(ours_BTV, logits_BTV.detach().numpy())
    expected = seq2seq(stack_layers(make_golden.gradients_of(module)), N)
    assert_close(gradients, expected, tolerance=2e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("seed", range(3))
def test_recurrent_layers_and_their_gradients_are_those_of_torch(make_golden, seed, kind, bidirectional):
    random = np.random.default_rng(seed)
    sizes = {"width": 2 * int(random.integers(1, 7)), "layers": int(random.integers(1, 4))}
    sizes |= {"batch": int(random.integers(1, 6)), "length": int(random.integers(1, 12))}
    record = make_golden.recurrent(seed, kind, bidirectional=bidirectional, **sizes)
    check_recurrent(record, kind, bidirectional=bidirectional)
