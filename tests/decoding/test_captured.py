"""Capture and replacement while tokens are written are those of a full pass, and of a loop by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.test_generate import STEPS, prompted
from tests.fixtures.speeds import core_of
from tests.fixtures.tiny import ARCHITECTURES, RECURRENT, B, tiny
from transformer.decoding import Beam, Greedy, Sampling, generate
from transformer.decoding.generate import _program
from transformer.decoding.layout import unstacked
from transformer.errors import UserError
from transformer.models import sites

CASES = {
    "decoder_only": {"position": "rotary", "window": 3},
    "seq2seq": {"position": "learned"},
    "linear": {"mixer": "linear", "position": "sinusoidal"},
    "rnn_seq2seq": RECURRENT[0],
    "encoder_only": {"position": "learned", "tie_embeddings": False},
}


def made(case):
    architecture = case if case in ARCHITECTURES else "decoder_only"
    return tiny(architecture, **CASES[case]), prompted(architecture)


def written(model, inputs, **options):
    run = jax.jit(lambda params, inputs, end: generate(model.model, params, inputs, steps=STEPS, end=end, **options))
    return lambda inputs=inputs, end=-1: jax.tree.map(np.asarray, run(model.params, inputs, end))


@pytest.mark.parametrize("case", core_of(CASES, lambda case: case in ("decoder_only", "linear")))
def test_what_is_captured_of_each_token_is_that_of_a_full_pass_over_what_was_written(case):
    model, inputs = made(case)
    names = tuple(model.model.sites(inputs))
    run = written(model, inputs, capture=names)
    end = run().tokens[0, 2]
    found = run(end=end)
    assert len(set(found.lengths)) > 1
    if case == "encoder_only":
        _, _, captured = model.model.start(model.params, inputs, steps=STEPS, capture=names)
        jax.tree.map(np.testing.assert_array_equal, found.captured, captured)
        return
    P, prompts = inputs["target"].shape[1], np.asarray(inputs["target_lengths"])
    whole = np.zeros((B, P + STEPS), np.int32)
    for b, length in enumerate(prompts):
        whole[b, :length] = inputs["target"][b, :length]
        whole[b, length : length + STEPS] = found.tokens[b]
    read = {**inputs, "target": jnp.array(whole), "target_lengths": jnp.array(prompts + found.lengths)}
    run = jax.jit(lambda p, b: model.model.apply(p, b, capture=names)["captured"])
    full = jax.tree.map(np.asarray, run(model.params, read))
    assert set(found.captured) == set(names)
    for name in names:
        axes = sites.axes_of(name, model.model.config).split()
        for b in range(B):
            one, other = (np.take(x[name], b, axes.index("B")) for x in (found.captured, full))
            compare(name, one, other, [axis for axis in axes if axis != "B"], (int(prompts[b]), int(found.lengths[b])))


def compare(name, one, other, axes, lengths):
    """Compare what was captured of one example, as it was written and in a full pass."""
    prompt, answer = lengths
    positions, ends = slice(prompt - 1, prompt - 1 + answer), prompt + answer - 1
    if name.startswith("encoder"):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)
        return
    if name.startswith("decoder.*.cross") and "T" not in axes:  # keys of the source
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)
        return
    cached = "S" in axes and one.shape[axes.index("S")] != STEPS
    if "T" in axes or not cached:
        axis = axes.index("T") if "T" in axes else axes.index("S")
        assert one.shape[axis] == STEPS
        assert not np.take(one, np.arange(answer, STEPS), axis).any()
        one, other = np.take(one, np.arange(answer), axis), np.take(other, np.r_[positions], axis)
    if "S" in axes and name.startswith("decoder.*.self") and ("T" in axes or cached):  # keys that were written
        one, other = (np.take(x, np.arange(ends), axes.index("S")) for x in (one, other))
    if name.endswith("self.scores"):  # of keys that a query sees
        seen = np.arange(ends) <= np.arange(positions.start, positions.stop)[:, None]
        one, other = (np.where(seen, x, 0.0) for x in (one, other))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.more
def test_what_is_captured_is_a_function_of_the_example_alone():
    model, inputs = made("seq2seq")
    names = ("decoder.*.self.key", "decoder.1.cross.weights.2", "decoder.logits")
    run = written(model, inputs, capture=names)
    end = run().tokens[0, 2]
    together = run(end=end)
    for b in range(B):
        alone = run({name: x[b : b + 1] for name, x in inputs.items()}, end)
        for name, axis in zip(names, (1, 1, 0), strict=True):
            other = np.take(together.captured[name], [b], axis)
            np.testing.assert_allclose(alone.captured[name], other, rtol=1e-5, atol=1e-5)


def by_hand(model, inputs, replace):
    """The tokens of a loop over `start` and `step`."""
    step = jax.jit(lambda p, tokens, cache: model.model.step(p, tokens, cache, replace=replace)[:2])
    logits, cache, _ = jax.jit(lambda p, b: model.model.start(p, b, steps=STEPS, replace=replace))(model.params, inputs)
    tokens = [logits.argmax(-1)]
    for _ in range(STEPS - 1):
        logits, cache = step(model.params, tokens[-1], cache)
        tokens.append(logits.argmax(-1))
    return np.stack(tokens, axis=1)


def test_what_replaces_an_activation_does_so_in_the_prompt_and_in_each_step():
    model, inputs = made("decoder_only")
    replace = {"decoder.0.self.head.1": jnp.zeros_like, "decoder.*.feed_forward.output": lambda x, layer: x * layer}
    expected = by_hand(model, inputs, replace)
    found = written(model, inputs, replace=replace)()
    np.testing.assert_array_equal(found.tokens, expected)
    np.testing.assert_array_equal(written(model, inputs, replace=replace, strategy=Beam(1))().tokens, expected)
    assert (written(model, inputs)().tokens != expected).any()
    logits = generate(
        model.model, model.params, inputs, steps=STEPS, end=None, replace=replace, capture=["decoder.logits"]
    )
    scores = np.max(jax.nn.log_softmax(logits.captured["decoder.logits"]), axis=-1).sum(axis=1)
    np.testing.assert_allclose(logits.scores, scores, atol=1e-5)


def test_arrays_that_replace_are_arguments_of_a_program_that_is_kept_and_functions_are_read_anew():
    model, inputs = made("seq2seq")
    name, factor = "encoder.0.residual", [1.0]

    def write(by):
        return generate(model.model, model.params, inputs, steps=STEPS, end=None, replace={name: by}).tokens

    shape = (B, inputs["source"].shape[1], model.model.config.width)
    count = _program._cache_size()
    first = write(np.full(shape, 1.0))
    before = _program._cache_size()
    assert before == count + 1
    assert (write(np.linspace(-9.0, 9.0, np.prod(shape)).reshape(shape)) != first).any()
    assert _program._cache_size() == before
    plain = write(lambda x: x * factor[0])
    factor[0] = -3.0
    assert (write(lambda x: x * factor[0]) != plain).any()
    assert _program._cache_size() == before


def test_nothing_is_carried_from_step_to_step_for_what_is_not_captured():
    model, inputs = made("decoder_only")

    def carried(**options):
        def run(params, inputs):
            return generate(model.model, params, inputs, steps=STEPS, end=None, **options)

        program = jax.make_jaxpr(run)(model.params, inputs)
        return next(len(eqn.outvars) for eqn in program.eqns if eqn.primitive.name == "while")

    cache = jax.eval_shape(
        lambda p, b: unstacked(model.model, model.model.start(p, b, steps=STEPS)[1]), model.params, inputs
    )
    own = 6  # number, last tokens, tokens, lengths, scores, ended
    assert carried() == own + len(jax.tree.leaves(cache))
    assert carried(capture=("decoder.*.residual",)) == carried() + 1


def test_a_beam_captures_nothing_and_a_wrong_name_is_named():
    model, inputs = made("decoder_only")
    settings = {"steps": 2, "end": None}
    with pytest.raises(UserError, match=r"a beam captures nothing.*Read the answers with apply"):
        generate(model.model, model.params, inputs, strategy=Beam(2), capture=("decoder.logits",), **settings)
    replace = {"decoder.0.self.wieghts": jnp.zeros_like}
    for strategy in (Greedy(), Sampling(), Beam(2)):
        with pytest.raises(UserError, match=r"Did you mean 'self.weights'"):
            generate(model.model, model.params, inputs, strategy=strategy, replace=replace, key=0, **settings)
