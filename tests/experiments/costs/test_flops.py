import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transformer
from experiments.costs import flops

SIZE = st.integers(1, 13)


def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@given(n=SIZE, k=SIZE, m=SIZE)
def test_a_product_is_two_operations_for_each_of_its_terms(n, k, m):
    assert flops.count(jnp.matmul, zeros(n, k), zeros(k, m)) == 2 * n * k * m


@given(b=SIZE, n=SIZE, k=SIZE, m=SIZE)
def test_batched_products_count_for_each_of_the_batch_however_written(b, n, k, m):
    expected = 2 * b * n * k * m
    assert flops.count(lambda x, y: jnp.einsum("bnk,bkm->bnm", x, y), zeros(b, n, k), zeros(b, k, m)) == expected
    assert flops.count(jax.vmap(jnp.matmul), zeros(b, n, k), zeros(b, k, m)) == expected
    assert flops.count(jax.vmap(jnp.matmul, (0, None)), zeros(b, n, k), zeros(k, m)) == expected
    assert flops.count(lambda x, y: jnp.einsum("bnk,kbm->nm", x, y), zeros(b, n, k), zeros(k, b, m)) == expected


@given(times=SIZE, n=SIZE)
def test_a_scan_counts_as_often_as_it_runs_one_in_another_too(times, n):
    def power(x, steps):
        return jax.lax.scan(lambda carry, _: (carry @ x, None), x, length=steps)[0]

    assert flops.count(lambda x: power(x, times), zeros(n, n)) == times * 2 * n**3

    def nested(x):
        return jax.lax.scan(lambda carry, _: (power(carry, times), None), x, length=3)[0]

    assert flops.count(nested, zeros(n, n)) == 3 * times * 2 * n**3


def test_compiled_parts_count_and_what_is_no_product_does_not():
    assert flops.count(jax.jit(jnp.matmul), zeros(3, 5), zeros(5, 7)) == 210
    assert flops.count(jax.checkpoint(jnp.matmul), zeros(3, 5), zeros(5, 7)) == 210
    assert flops.count(lambda x: jax.nn.softmax(x + jnp.exp(x)), zeros(30, 50)) == 0


def test_a_gradient_of_a_product_is_two_more():
    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w) ** 2)

    assert flops.count(jax.grad(loss), zeros(5, 7), zeros(3, 5)) == 2 * 210  # forward, and to w
    assert flops.count(jax.grad(loss, (0, 1)), zeros(5, 7), zeros(3, 5)) == 3 * 210


@pytest.mark.parametrize("architecture", ["encoder_only", "decoder_only", "seq2seq", "rnn_seq2seq"])
def test_scanned_layers_count_as_those_unrolled(architecture):
    counts = []
    for unroll in (False, True):
        sizes = {"vocab_size": 11, "width": 12, "num_heads": 3, "num_layers": 3, "unroll": unroll}
        model = transformer.build({"architecture": architecture, **sizes})
        params = model.parameter_shapes
        batch = {name: jnp.zeros((2, 5), jnp.int32) for name in ("source", "target")}
        counts.append(flops.count(lambda p, b, m=model: m.apply(p, b)["logits"], params, batch))
    assert counts[0] == counts[1] > 0


def test_forms_of_attention_are_named_with_the_parts_that_they_compute():
    """Cross-attention has a bias of none: the distances of the relative position are those of self-attention alone."""
    sizes = {"vocab_size": 11, "width": 12, "num_heads": 3, "num_layers": 1, "kernels": "fast", "position": "relative"}
    model = transformer.build({"architecture": "seq2seq", **sizes})
    params = model.parameter_shapes
    batch = {name: jnp.zeros((2, 9), jnp.int32) for name in ("source", "target")}
    gradient = jax.grad(lambda params, batch: jnp.sum(model.apply(params, batch)["logits"]))
    assert flops.operations(gradient, params, batch).forms == {
        "encoder, self-attention": ("plain",),
        "decoder, self-attention": ("plain",),
        "decoder, cross-attention": ("blocks",),
    }


def test_a_decoder_counts_what_its_shapes_say():
    B, T, D, F, V, L = 2, 5, 12, 48, 11, 2
    model = transformer.build(
        {"architecture": "decoder_only", "vocab_size": V, "width": D, "num_heads": 3, "num_layers": L}
    )
    params = model.parameter_shapes
    layer = 4 * D * D + 2 * T * D + 2 * D * F  # query, key, value, output; scores and mix; feed-forward
    expected = 2 * B * T * (L * layer + D * V)
    assert (
        flops.count(lambda p, b: model.apply(p, b)["logits"], params, {"target": jnp.zeros((B, T), jnp.int32)})
        == expected
    )


def test_it_needs_no_other_import_to_have_come_first():
    code = (
        "import jax, importlib.util as u; s = u.spec_from_file_location('flops', 'experiments/costs/flops.py');"
        "m = u.module_from_spec(s); s.loader.exec_module(m); print(m.count(lambda x: x @ x, jax.numpy.ones((2, 2))))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["16"], result.stderr
