"""Attention in blocks and in chunks is its equation, with its gradients, in NumPy's float64.

Blocks and chunks of 3 rows for 7 queries and 5 keys: several of each, and a last one that is partial. The largest
difference seen is 5e-7 of the largest entry.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import B, H, K, N, S, T, normal, query_key_value
from tests.fixtures.numpy_attention import attention, far
from tests.fixtures.speeds import core_of, more
from tests.ops.test_attend import MASKS, allowed_by
from transformer.ops import blocks, chunks, masks
from transformer.ops.attend import attend
from transformer.ops.kernels import FORMS, Call
from transformer.ops.modifiers import Modifiers
from transformer.ops.scores import SCORES, find

CLOSE = 5e-6
"""Largest difference allowed, relative to the largest entry."""

EVERY = {
    **MASKS,
    "not_causal": ~masks.causal(),
    "either": (masks.causal() & masks.window(2)) | masks.padding(jnp.array([1, 0])),
    "function": masks.where(lambda query, key: (query + key) % 3 != 0),
    "function_and_window": masks.where(lambda query, key: (query + key) % 3 != 0) & masks.window(3),
    "heads": masks.causal() & masks.given(normal(9, B, N, T, S) > 0),
    "not_either": ~(masks.window(2) | masks.segments(jnp.array([[1, 1, 2, 2, 3, 3, 0]] * B), jnp.ones((B, S), int))),
}
COTANGENT = normal(5, B, T, N, H)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Several blocks and chunks of a few rows."""
    monkeypatch.setattr(blocks, "QUERIES", 3)
    monkeypatch.setattr(chunks, "LENGTHS", (3, 3))


def nearer(scores_BNTS, query_positions, key_positions):
    return scores_BNTS - 0.3 * jnp.abs(query_positions - key_positions)


def computed(form, arrays, mask, *, query_index=None, **more):
    """Return the output and the gradients of a form of FORMS, by its name, whatever would be chosen."""
    score = find("scaled_dot" if "matrix" not in arrays else "bilinear")

    def loss(arrays):
        parameters = {"matrix": arrays["matrix"]} if "matrix" in arrays else None
        modifiers = Modifiers(sink_N=arrays.get("sink"), **more)
        three = (arrays[name] for name in ("query", "key", "value"))
        call = Call(*three, mask, score, arrays.get("bias"), parameters, query_index, None, modifiers)
        assert FORMS[form].refusal(call) is None
        output = FORMS[form].compute(call)
        return jnp.sum(output * COTANGENT[:, : output.shape[1]]), output

    gradients, output = jax.jit(jax.grad(loss, has_aux=True))(arrays)
    return output, gradients


def three_arrays(**more):
    return {**dict(zip(("query", "key", "value"), query_key_value(), strict=True)), **more}


def check(found, expected):
    assert set(found[1]) == set(expected[1])
    differences = {name: far(gradient, expected[1][name]) for name, gradient in found[1].items()}
    differences["output"] = far(found[0], expected[0])
    print(differences)  # where it fails
    assert max(differences.values()) < CLOSE


def of_no_key(allowed):
    """Rows of queries, B T N, that see nothing."""
    return ~np.moveaxis(allowed.any(-1), 1, 2)


ALWAYS = ("causal", "padding", "nothing", "joined", "not_causal", "either", "heads", "given_3", "segments")


@pytest.mark.parametrize("name", core_of(EVERY, lambda name: name in ALWAYS))
def test_blocks_are_the_equation_under_every_mask(name):
    arrays, allowed = three_arrays(), allowed_by(EVERY[name])
    output, gradients = computed("blocks", arrays, EVERY[name])
    check((output, gradients), attention(arrays, allowed, COTANGENT))
    assert not np.asarray(output)[of_no_key(allowed)].any()
    assert not np.asarray(gradients["query"])[of_no_key(allowed)].any()


@pytest.mark.parametrize("name", core_of(EVERY, lambda name: name in ALWAYS))
def test_chunks_are_the_equation_with_all_that_may_change_a_score_under_every_mask(name):
    more = {"matrix": normal(3, N, H, H) / 2, "bias": normal(4, N, T, S), "sink": normal(6, N)}
    arrays, allowed = three_arrays(**more), allowed_by(EVERY[name])
    output, gradients = computed("chunks", arrays, EVERY[name], soft_cap=2.0, function=nearer)
    check((output, gradients), attention(arrays, allowed, COTANGENT, cap=2.0, slope=0.3))
    assert not np.asarray(output)[of_no_key(allowed)].any()
    assert not np.asarray(gradients["query"])[of_no_key(allowed)].any()


@pytest.mark.parametrize("name", ["nothing", "joined", more("everything"), more("either"), more("given_4")])
def test_chunks_are_the_equation_without_any_of_it(name):
    arrays, allowed = three_arrays(), allowed_by(EVERY[name])
    output, gradients = computed("chunks", arrays, EVERY[name])
    check((output, gradients), attention(arrays, allowed, COTANGENT))
    assert not np.asarray(output)[of_no_key(allowed)].any()
    assert not np.asarray(gradients["query"])[of_no_key(allowed)].any()


@pytest.mark.parametrize("shape", [(T, S), more((B, 1, 1, S)), (N, 1, S)], ids=str)
def test_chunks_add_the_gradient_of_a_bias_up_over_the_axes_along_which_it_is_broadcast(shape):
    arrays = three_arrays(bias=normal(4, *shape))
    check(computed("chunks", arrays, MASKS["causal"]), attention(arrays, allowed_by(MASKS["causal"]), COTANGENT))


@pytest.mark.parametrize("index", [[6, 0, 3, 4], [[0, 1, 2, 3], [1, 4, 2, 0]]], ids=["T", "B T"])
def test_chunks_of_queries_at_indices_of_their_own_are_those_rows_of_the_equation(index):
    index, mask = jnp.array(index), masks.causal() & masks.window(3)
    arrays = three_arrays()
    arrays["query"] = arrays["query"][:, :4]
    distance = np.atleast_2d(index)[:, None, :, None] - np.arange(S)
    allowed = np.broadcast_to((distance >= 0) & (distance < 3), (B, N, 4, S))
    expected = attention(arrays, allowed, COTANGENT[:, :4])
    check(computed("chunks", arrays, mask, query_index=index), expected)


@pytest.mark.parametrize("form", ["blocks", "chunks"])
def test_keys_that_no_query_may_see_may_hold_anything(form):
    """Outputs alone: the derivative of a query multiplies such a key by 0, in the plain form as well."""
    arrays = three_arrays()
    spoilt = {**arrays, "key": arrays["key"].at[:, 3:].set(jnp.nan)}
    mask = masks.padding(jnp.array([3, 2])) & masks.causal()
    np.testing.assert_array_equal(computed(form, spoilt, mask)[0], computed(form, arrays, mask)[0])


@pytest.mark.parametrize("form", ["blocks", "chunks"])
def test_bfloat16_gives_bfloat16_near_to_the_equation(form):
    """The largest difference seen is 6e-3, of the plain form as well; a number of bfloat16 is rounded by up to 4e-3."""
    arrays = {name: x.astype(jnp.bfloat16) for name, x in three_arrays().items()}
    output, gradients = computed(form, arrays, MASKS["joined"])
    expected, of_arrays = attention(arrays, allowed_by(MASKS["joined"]), COTANGENT)
    assert output.dtype == jnp.bfloat16
    assert {x.dtype for x in gradients.values()} == {jnp.dtype("bfloat16")}
    assert far(output, expected) < 1.2e-2
    assert max(far(gradients[name], x) for name, x in of_arrays.items()) < 1.2e-2


@pytest.mark.parametrize("form", ["blocks", "chunks"])
def test_lanes_of_vmap_have_the_gradient_of_each_alone(form):
    def gradient(arrays):
        return computed(form, arrays, MASKS["causal"])[1]

    lanes = [dict(zip(("query", "key", "value"), query_key_value(seed), strict=True)) for seed in (0, 7)]
    together = jax.vmap(gradient)(jax.tree.map(lambda *x: jnp.stack(x), *lanes))
    for i, lane in enumerate(lanes):
        alone = gradient(lane)
        for name, x in together.items():
            assert far(x[i], np.asarray(alone[name])) < 1e-6, name


@pytest.mark.parametrize("rate", [0.3, 0.0])
def test_dropout_in_blocks_drops_the_weights_that_the_plain_form_drops(rate):
    three = query_key_value()

    def slopes(kernels, rate):
        def loss(arrays):
            own = {"dropout": rate, "key": jax.random.key(3), "kernels": kernels}
            output = attend(*arrays, mask=MASKS["joined"], **own)
            return jnp.sum(output * COTANGENT), output

        return jax.grad(loss, has_aux=True)(three)

    both = [jax.tree.leaves(jax.jit(functools.partial(slopes, kernels))(rate)) for kernels in ("plain", "fused")]
    for plain, fused in zip(*both, strict=True):
        assert far(fused, np.asarray(plain)) < 1e-6
    whole = attend(*three, mask=MASKS["joined"])
    assert (far(both[1][-1], np.asarray(whole)) > 0.1) == (rate > 0)


def test_a_modifier_that_leaves_nothing_but_infinity_gives_zero():
    def earlier(scores_BNTS, query_positions, key_positions):
        return jnp.where(key_positions < query_positions, scores_BNTS, -jnp.inf)

    arrays, allowed = three_arrays(), np.broadcast_to(np.tri(T, S, -1, bool), (B, N, T, S))
    found = computed("chunks", arrays, masks.everything(), function=earlier)
    check(found, attention(arrays, allowed, COTANGENT))
    assert not np.asarray(found[0][:, 0]).any()


def test_a_learned_score_has_one_map_for_each_query_head_in_chunks_too():
    """The reference above has bilinear scores; of the others the plain form is the reference."""
    parameters = {"vector": normal(8, N, H)}
    three = query_key_value()
    plain, fused = (
        attend(*three, score="additive", parameters=parameters, mask=MASKS["joined"], kernels=kernels)
        for kernels in ("plain", "fused")
    )
    assert far(fused, np.asarray(plain)) < CLOSE
    assert SCORES["additive"].dot_scale is None
    assert K < N
