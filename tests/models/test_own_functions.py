"""Functions of a user's own, which a config names by a path package.module:function."""

import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.tiny import SIZES, batch, tiny, what_is_read
from transformer import UserError
from transformer.ops.scores import Parameter, Score

HERE = "tests.models.test_own_functions"


def test_a_score_of_the_users_own_runs_in_a_model():
    inputs = batch()
    named, own = tiny("seq2seq", score="scaled_dot"), tiny("seq2seq", score=f"{HERE}:as_scaled_dot")
    np.testing.assert_allclose(own(inputs), named(inputs), rtol=1e-4, atol=1e-4)


OWN_FUNCTIONS = {
    "a dict": ("score", "this:d", "'this:d' is a dict; expected a function"),
    "a command": (
        "score",
        "os:system",
        r"'os:system' takes other arguments; got \(command\); .*\(query_BTNH, key_BSNH\)",
    ),
    "one number": (
        "recurrent.attention",
        "math:sqrt",
        r"model.recurrent.attention 'math:sqrt' takes other .*got \(x, /\)",
    ),
    "two numbers": ("score", "math:pow", "model.score 'math:pow' fails on a small example; got TypeError: .*can trace"),
    "files": (
        "attention.mask",
        "os:rename",
        "model.attention.mask 'os:rename' fails on a small example; got TypeError",
    ),
    "another shape": (
        "score",
        f"{HERE}:of_another_shape",
        r"'.*:of_another_shape' gave something else; got float32 .*B N T S",
    ),
    "booleans": ("score", f"{HERE}:of_booleans", "gave something else; got bool of shape .*expected floats"),
    "unread parameters": (
        "score",
        f"{HERE}:UNREAD",
        r"unexpected keyword argument 'vector'.*\(query_BTNH, key_BSNH, vector\)",
    ),
    "nothing": (
        "attention.score_modifier",
        "builtins:print",
        "'builtins:print' gave something else; got None; .*B N T S",
    ),
    "another name": ("score", "operator:sub", "score 'operator:sub' gave something else; got float32"),
    "a modifier by another name": (
        "attention.score_modifier",
        f"{HERE}:renamed",
        f"score modifier '{HERE}:renamed' gave something else; got int32 .*B N T S",
    ),
    "numbers": ("attention.mask", "operator:sub", "'operator:sub' gave something else; got int32 .*expected bool"),
    "two arguments": ("attention.score_modifier", "operator:sub", "takes other arguments.*key_positions"),
}


@pytest.mark.parametrize("name", OWN_FUNCTIONS)
def test_a_function_of_the_users_own_is_called_once_before_anything_is_built(name):
    setting, path, says = OWN_FUNCTIONS[name]
    section, _, field = setting.rpartition(".")
    architecture = "rnn_seq2seq" if section == "recurrent" else "decoder_only"
    settings = what_is_read({**SIZES, "architecture": architecture})
    with pytest.raises(UserError, match=says):
        transformer.build({**settings, **({section: {field: path}} if section else {field: path})})


def test_functions_of_the_users_own_that_can_be_used_build_a_model():
    for settings in ({"score": f"{HERE}:LEARNED"}, {"attention": {"mask": "operator:ge"}}):
        transformer.build({**SIZES, "architecture": "decoder_only", **settings})
    square = f"{HERE}:of_as_many_keys"
    transformer.build({**SIZES, "architecture": "encoder_only", "score": square})
    with pytest.raises(UserError, match="fails on a small example"):
        transformer.build({**SIZES, "score": square})  # cross-attention has other keys


def as_scaled_dot(query_BTNH, key_BSNH):
    return jnp.einsum("BTNH,BSNH->BNTS", query_BTNH, key_BSNH) / query_BTNH.shape[-1] ** 0.5


def of_another_shape(query_BTNH, key_BSNH):
    return jnp.einsum("BTNH,BSNH->BNT", query_BTNH, key_BSNH)


def of_booleans(query_BTNH, key_BSNH):
    return as_scaled_dot(query_BTNH, key_BSNH) > 0


def of_as_many_keys(query_BTNH, key_BSNH):
    return as_scaled_dot(query_BTNH + key_BSNH, key_BSNH)


def weighted(query_BTNH, key_BSNH, vector):
    """Weigh each entry of q . k by the score's own parameter."""
    return as_scaled_dot(query_BTNH * vector, key_BSNH)


def of_distances(scores_BNTS, query_positions, key_positions):
    return query_positions - key_positions


renamed = of_distances
LEARNED, UNREAD = (
    Score(function, {"vector": Parameter("N H", lambda key, shape: jnp.ones(shape, jnp.float32))})
    for function in (weighted, as_scaled_dot)
)
