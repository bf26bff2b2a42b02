"""Linear attention is the double loop over queries and keys, in chunks, in segments, and from state to state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fixtures.arrays import check_gradients, normal
from transformer.errors import UserError
from transformer.ops.linear_attention import empty_state, linear_attention
from transformer.ops.sequences import Sequence

B, T, N, K, H = 3, 7, 4, 2, 5
QUERY, KEY, VALUE = normal(0, B, T, N, H), normal(1, B, T, K, H), normal(2, B, T, K, H)
SEGMENTS = {
    "whole": np.ones((B, T), np.int32),
    "padded": np.array([[1] * 7, [1] * 2 + [0] * 5, [0] * 7], np.int32),
    "packed": np.array([[1, 1, 1, 2, 2, 3, 3], [4, 5, 5, 5, 5, 0, 0], [0, 0, 2, 2, 2, 2, 1]], np.int32),
}
PREFIX = np.array([4, 1, 6], np.int32)


def reference(segments, prefix, causal):
    """The two sums of every query, key by key, in float64."""

    def phi(x):
        return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))

    query, key, value = (np.asarray(x, np.float64) for x in (QUERY, KEY, VALUE))
    out = np.zeros((B, T, N, H))
    for b, t, n in np.ndindex(B, T, N):
        k, total, weights = n * K // N, np.zeros(H), 0.0
        for s in range(T):
            sees = s <= t or not causal or (prefix is not None and s < prefix[b])
            if sees and segments[b, s] == segments[b, t] != 0:
                weight = phi(query[b, t, n]) @ phi(key[b, s, k])
                total, weights = total + weight * value[b, s, k], weights + weight
        out[b, t, n] = total / weights if weights else 0.0
    return out


@pytest.mark.parametrize("chunk", [3, 64])
@pytest.mark.parametrize(("causal", "prefix"), [(True, None), (True, PREFIX), (False, None)])
@pytest.mark.parametrize("name", SEGMENTS)
def test_it_is_the_loop_over_queries_and_keys(name, causal, prefix, chunk):
    own = Sequence(jnp.asarray(SEGMENTS[name]), None if prefix is None else jnp.asarray(prefix))
    found, _ = linear_attention(QUERY, KEY, VALUE, own, causal=causal, chunk=chunk)
    expected = reference(SEGMENTS[name], prefix, causal)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert not np.asarray(found)[SEGMENTS[name] == 0].any()


def test_a_sequence_may_be_read_in_parts_that_hand_on_a_state_of_constant_size():
    def read(part, state):
        own = Sequence(jnp.asarray(SEGMENTS["padded"][:, part]))
        return linear_attention(QUERY[:, part], KEY[:, part], VALUE[:, part], own, causal=True, state=state)

    state, parts = empty_state(B, K, H), []
    for part in (slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 7)):
        out, state = read(part, state)
        parts.append(out)
        assert jax.tree.map(jnp.shape, state) == {"state": (B, K, H, H), "norm": (B, K, H)}
    whole, last = read(slice(0, T), None)
    real = SEGMENTS["padded"] != 0
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1)[real], whole[real], rtol=1e-4, atol=1e-5)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), state, last)
    assert not np.asarray(last["state"][2]).any()
    assert np.abs(last["state"][1]).min() > 0


def test_gradients_are_those_of_finite_differences_also_where_a_query_sees_no_key():
    own = Sequence(jnp.asarray(SEGMENTS["padded"]))

    def out(query, key, value):
        return linear_attention(query, key, value, own, causal=True, chunk=3)[0]

    check_gradients(out, QUERY, KEY, VALUE)


def test_sums_are_float32_and_the_result_has_the_type_of_the_values():
    narrow = [x.astype(jnp.bfloat16) for x in (QUERY, KEY, VALUE)]
    own = Sequence(jnp.asarray(SEGMENTS["packed"]))
    found, state = linear_attention(*narrow, own, causal=False)
    assert (found.dtype, state["state"].dtype, state["norm"].dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    np.testing.assert_allclose(found.astype(np.float32), reference(SEGMENTS["packed"], None, False), atol=0.05)


def test_shapes_that_do_not_fit_are_errors():
    own = Sequence(jnp.ones((B, T + 1), jnp.int32))
    with pytest.raises(UserError, match=r"the segments has another query position axis .T.; got 8"):
        linear_attention.__wrapped__(QUERY, KEY, VALUE, own, causal=True)  # not checked
