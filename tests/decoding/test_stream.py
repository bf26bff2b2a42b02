"""Claims about tokens that come one by one: they are those of `generate`, each step one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.test_generate import STEPS, prompted
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, B, V, tiny
from transformer.decoding import Allowed, Beam, Greedy, MinLength, NoRepeatNgram, Sampling, generate, stream
from transformer.decoding.stream import _kept_following
from transformer.errors import UserError

EVEN = Allowed(lambda tokens, lengths: (jnp.arange(V) % 2 == 0)[None])

CASES = {
    "greedy": {},
    "sampling": {"strategy": Sampling(0.9, top_p=0.95), "key": 3},
    "a key for each": {"strategy": Sampling(), "key": jax.random.split(jax.random.key(1), B)},
    "rules": {"rules": (NoRepeatNgram(1), MinLength(3, 2))},
    "a rule that is not kept": {"rules": (EVEN,), "strategy": Greedy()},
}


@pytest.mark.parametrize(
    ("architecture", "case"),
    core_of(
        [(architecture, case) for architecture in ARCHITECTURES for case in CASES],
        lambda one: one[0] == "decoder_only" or one == ("seq2seq", "greedy"),
    ),
)
def test_the_tokens_are_those_of_generate(architecture, case):
    model, inputs = tiny(architecture, position="learned", tie_embeddings=False), prompted(architecture)
    given = {"steps": STEPS, "padding": 22, **CASES[case]}
    whole = np.asarray(generate(model.model, model.params, inputs, end=[V - 1, V - 1], **given).tokens)
    for end in ([V - 1, V - 1], [int(whole[0, 2]), int(whole[1, 1])], [int(token) for token in whole[:2, 0]]):
        expected = generate(model.model, model.params, inputs, end=end, **given)
        found = list(stream(model.model, model.params, inputs, end=end, **given))
        assert len(found) == max(expected.lengths)  # nothing is computed behind the last end
        np.testing.assert_array_equal(np.stack(found, axis=1), expected.tokens[:, : len(found)])
    assert len(np.unique(whole)) > 1


def test_a_second_stream_compiles_nothing():
    model, inputs = tiny("decoder_only", position="learned"), prompted("decoder_only")
    for _ in range(2):
        before = _kept_following._cache_size()
        list(stream(model.model, model.params, inputs, steps=STEPS, end=None))
    assert _kept_following._cache_size() == before


def test_a_beam_and_what_generate_refuses_are_refused_before_the_first_token():
    model, inputs = tiny("decoder_only", position="learned"), prompted("decoder_only")
    with pytest.raises(UserError, match="a beam has no token before the last"):
        stream(model.model, model.params, inputs, steps=3, end=None, strategy=Beam(2))
    with pytest.raises(UserError, match="sampling needs a random key"):
        stream(model.model, model.params, inputs, steps=3, end=None, strategy=Sampling())
