"""The choice of a form of attention, its reasons, and what a form saves; that forms compute the same: test_forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import normal
from transformer.errors import UserError
from transformer.ops import chunks, kernels, masks
from transformer.ops.attend import attend
from transformer.ops.kernels import FORMS, MOST_KEPT, Call, choose
from transformer.ops.modifiers import Modifiers
from transformer.ops.scores import find

B, T, S, N, K, H = 2, 7, 5, 4, 2, 8


def call(T=T, S=S, H=H, dtype="float32", mask=None, score="scaled_dot", **own):
    three = (jnp.ones(shape, dtype) for shape in ((B, T, N, H), (B, S, K, H), (B, S, K, H)))
    return Call(*three, masks.causal() if mask is None else mask, find(score), **own)


def same(scores_BNTS, query_positions, key_positions):
    return scores_BNTS


BIAS = {"bias": jnp.ones((T, S))}
DROPS = {"dropout": 0.1, "random_key": jax.random.key(0)}
INDEX = {"query_index": jnp.arange(T)}
SIGMOID = {"modifiers": Modifiers(weights="sigmoid")}
DIFFERENCE = {"modifiers": Modifiers(subtract=jnp.ones(()))}
ERROR = "no fused form"
CHOICES = {
    "q . k": ({}, "blocks", "blocks"),
    "five queries": ({"T": 5}, "blocks", "blocks"),
    "four queries": ({"T": 4}, "plain", "blocks"),
    "dropout": (DROPS, "blocks", "blocks"),
    "queries at their own indices": (INDEX, "plain", "chunks"),
    "a bias": (BIAS, "plain", "chunks"),
    "a soft cap": ({"modifiers": Modifiers(soft_cap=2.0)}, "plain", "chunks"),
    "a sink": ({"modifiers": Modifiers(sink_N=jnp.ones(N))}, "plain", "chunks"),
    "a modifier": ({"modifiers": Modifiers(function=same)}, "plain", "chunks"),
    "a learned score": ({"score": "cosine"}, "plain", "chunks"),
    "dropout and a bias": ({**BIAS, **DROPS}, "plain", ERROR),
    "weights other than softmax": (SIGMOID, "plain", ERROR),
    "a difference of maps": (DIFFERENCE, "plain", ERROR),
}
"""Name -> (the call, the choice of fast, the choice of fused), on a CPU."""

LONG = {
    "q . k": ({}, "chunks", "chunks"),
    "a bias": (BIAS, "chunks", "chunks"),
    "a learned score": ({"score": "additive"}, "chunks", "chunks"),
    "dropout": (DROPS, "plain", "blocks"),
    "dropout and a bias": ({**BIAS, **DROPS}, "plain", ERROR),
    "weights other than softmax": (SIGMOID, "plain", ERROR),
}
"""The same where weights are more than are kept."""


def chosen(own, kernels):
    try:
        return choose(call(**own), kernels)
    except UserError:
        return ERROR


@pytest.mark.parametrize(("table", "most"), [(CHOICES, MOST_KEPT), (LONG, B * N * T * S - 1)], ids=["short", "long"])
def test_each_call_is_computed_in_the_form_of_the_table(table, most, monkeypatch):
    monkeypatch.setattr(kernels, "MOST_KEPT", most)
    assert {name: (own, chosen(own, "fast"), chosen(own, "fused")) for name, (own, *_) in table.items()} == table
    assert {chosen(own, "plain") for own, *_ in table.values()} == {"plain"}


def test_as_many_weights_as_are_kept_are_not_too_many(monkeypatch):
    monkeypatch.setattr(kernels, "MOST_KEPT", B * N * T * S)
    assert choose(call(), "fast") == "blocks"


CUDNN = {
    "it can": ({}, None),
    "keys alone": ({"mask": masks.everything(), "S": S}, None),
    "a causal window": ({"mask": masks.causal() & masks.window(2)}, None),
    "float32": ({"dtype": "float32"}, "it computes bfloat16 and float16, and the queries are float32"),
    "dropout": (DROPS, "it has no dropout of weights"),
    "a width of 12": ({"H": 12}, "a head's width must be a multiple of 8 up to 128, and is 12"),
    "a width of 136": ({"H": 136}, "a head's width must be a multiple of 8 up to 128, and is 136"),
    "padding": ({"mask": masks.causal() & masks.padding(jnp.ones(B, int))}, "it has flags for causal and window alone"),
    "two windows": ({"mask": masks.causal() & masks.window(3) & masks.window(2)}, "flags for causal and window alone"),
    "a window that is an array": ({"mask": masks.causal() & masks.window(jnp.array(3))}, "for causal and window alone"),
    "a window both ways": ({"mask": masks.window(3)}, "it has flags for causal and window alone"),
    "other queries than keys": ({"S": S}, "7 queries under a causal mask, and 5 keys"),
    "queries at their own indices": (INDEX, "the queries stand at indices of their own"),
    "a bias": ({"bias": jnp.ones((T, T))}, "a bias is added to the scores"),
    "a learned score": ({"score": "cosine"}, "the score 'transformer.ops.scores:cosine' is not q . k times a constant"),
    "modifiers": (
        {"modifiers": Modifiers(2.0, same, jnp.ones(N))},
        "the scores have modifiers: soft cap, score modifier, sink",
    ),
    "other weights": (SIGMOID, "the weights are 'transformer.ops.weights:sigmoid', no softmax"),
}
"""Name -> (a call on a GPU, the reason of cudnn; None where it computes the call)."""


@pytest.mark.parametrize("name", CUDNN)
def test_cudnn_computes_a_call_or_has_this_reason(name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    own, reason = CUDNN[name]
    found = FORMS["cudnn"].refusal(call(**{"dtype": "bfloat16", "S": T, **own}))
    assert (found is None) == (reason is None)
    assert reason is None or reason in found
    assert (choose(call(**{"dtype": "bfloat16", "S": T, **own}), "fast") == "cudnn") == (reason is None)


def test_cudnn_needs_a_gpu():
    assert FORMS["cudnn"].refusal(call(dtype="bfloat16", S=T)) == "it needs an NVIDIA GPU, and this is a cpu"


@pytest.fixture
def batches(monkeypatch):
    """Compute by XLA's program for the same call, which any machine has; return the sizes of the batches of calls."""
    real, found = jax.nn.dot_product_attention, []

    def call(*arrays, implementation, **own):
        found.append(len(arrays[0]))
        return real(*arrays, **own, implementation={"cudnn": "xla"}[implementation])

    monkeypatch.setattr(jax.nn, "dot_product_attention", call)
    return found


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("mask", [masks.everything(), masks.causal(), masks.causal() & masks.window(2)], ids=str)
def test_what_is_handed_to_cudnn_is_what_the_mask_and_the_score_are(mask):
    three = normal(0, B, T, N, H), normal(1, B, T, K, H), normal(2, B, T, K, H)
    found = FORMS["cudnn"].compute(Call(*three, mask, find("dot")))
    np.testing.assert_allclose(found, attend(*three, mask=mask, score="dot"), rtol=1e-4, atol=1e-5)


def test_lanes_of_vmap_are_one_larger_batch_for_cudnn_with_the_gradient_of_each(batches):
    """JAX has no vmap of the kernel. Values are the same in all lanes here."""
    lanes = 3
    query, key, value = normal(0, lanes, B, T, N, H), normal(1, lanes, B, T, K, H), normal(2, B, T, K, H)

    def gradient(compute):
        def loss(*three):
            return jnp.sum(compute(Call(*three, masks.causal(), find("dot"))) ** 3)

        return jax.jit(jax.vmap(jax.grad(loss, (0, 1, 2)), (0, 0, None)))(query, key, value)

    found = gradient(FORMS["cudnn"].compute)
    assert batches[-1] == lanes * B
    expected = gradient(lambda call: attend(*call[:3], mask=call.mask, score="dot"))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_name_of_a_form_takes_it_or_raises_with_its_reason(form):
    calls = {name: call(**own) for name, (own, *_) in CHOICES.items()}
    for name, each in calls.items():
        reason = FORMS[form].refusal(each)
        if reason is None:
            assert choose(each, form) == form, name
        elif each.query_index is not None:  # a step of generation
            assert choose(each, form) == "plain"
        else:
            with pytest.raises(UserError, match=f"the form '{form}' cannot compute this attention; got ") as error:
                choose(each, form)
            assert reason in str(error.value)
            able = [other for other in FORMS if FORMS[other].refusal(each) is None]
            assert ("expected plain, since no form can" in str(error.value)) == (not able)
            assert all(other in str(error.value) for other in able)


ERRORS = {
    "dropout and a bias": (
        {**BIAS, **DROPS},
        "no fused form computes this attention; got cudnn: it needs an NVIDIA GPU, and this is a cpu; blocks: a bias"
        " is added to the scores; chunks: it has no dropout of weights; expected",
    ),
    "sigmoid": (SIGMOID, "; chunks: the weights are 'transformer.ops.weights:sigmoid', no softmax; expected"),
    "difference": (DIFFERENCE, "blocks: the scores have modifiers: difference of maps; chunks: the weights are a diff"),
    "cosine and dropout": (
        {"score": "cosine", **DROPS},
        "blocks: the score 'transformer.ops.scores:cosine' is not q . k times a constant; chunks: it has no dropout",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_the_error_of_fused_has_the_reason_of_each_form_and_what_to_do(name):
    own, says = ERRORS[name]
    with pytest.raises(UserError) as error:
        choose(call(**own), "fused")
    assert says in str(error.value)
    assert "kernels=fast" in str(error.value)


def compiled_gradient(form, size, mask=None, heads=1):
    x = jax.ShapeDtypeStruct((1, size, heads, H), jnp.float32)

    def loss(query, key, value):
        if form != "plain":
            own = Call(query, key, value, masks.everything() if mask is None else mask, find("scaled_dot"))
            return jnp.sum(jnp.square(FORMS[form].compute(own)))
        return jnp.sum(jnp.square(attend(query, key, value, mask=mask)))

    return jax.jit(jax.grad(loss, (0, 1, 2))).lower(x, x, x).compile()


def test_chunks_hold_no_array_of_all_weights():
    """Nor an eighth of it, for 4096 queries and keys: four squares of 512; the plain form holds it."""
    whole = 4 * 4096**2

    def held(form):
        return compiled_gradient(form, 4096, masks.causal()).memory_analysis().temp_size_in_bytes

    assert held("chunks") < whole / 8
    assert held("plain") > whole


def test_a_causal_mask_in_blocks_is_computed_in_five_eighths():
    """In blocks of 64 of T = 256: 4 + 3 + 2 + 1 of 16 squares."""

    def products(mask):
        return compiled_gradient("blocks", 256, mask).cost_analysis()["flops"]

    assert 0.6 < products(masks.causal()) / products(masks.everything()) < 0.7


def test_chunks_that_the_mask_rules_out_are_not_read(monkeypatch):
    """Values there may hold anything, since they are not multiplied by a weight of 0."""
    monkeypatch.setattr(chunks, "LENGTHS", (4, 4))
    three = tuple(normal(i, 1, 16, 2, H) for i in range(3))
    spoilt = (*three[:2], three[2].at[:, 8:].set(jnp.nan))

    def rows(arrays, mask):
        return chunks_of(*arrays, mask)[:, :4]

    for mask in (masks.causal(), masks.window(3), masks.padding(jnp.array([7])), masks.prefix(jnp.array([6]))):
        np.testing.assert_array_equal(rows(spoilt, mask), rows(three, mask))
    assert np.isnan(rows(spoilt, masks.everything())).all()


@functools.partial(jax.jit, static_argnums=())
def chunks_of(query, key, value, mask):
    return FORMS["chunks"].compute(Call(query, key, value, mask, find("scaled_dot")))
