"""A call that is not part of a program is compiled once, and programs go with what they were compiled for."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import transformer
from tests.fixtures.tiny import SIZES, batch, tiny, what_is_read
from transformer.errors import UserError
from transformer.nn.blocks import Block
from transformer.nn.initializers import Constant, Normal
from transformer.nn.modules import Linear
from transformer.ops.scores import SCORES

CALLS = []


def counted(query_BTNH, key_BSNH):
    """The score scaled_dot, which records when it is traced or computed."""
    CALLS.append(1)
    return SCORES["scaled_dot"].function(query_BTNH, key_BSNH)


def counting_model():
    settings = {**SIZES, "architecture": "decoder_only", "num_layers": 1, "score": f"{__name__}:counted"}
    model = transformer.build(what_is_read(settings))
    return model, model.init(0)


def calls_of(function):
    """Return the result of a function, and how many times a score was called in it."""
    CALLS.clear()
    return function(), len(CALLS)


def test_a_second_call_of_the_same_shapes_is_not_traced_again():
    model, params = counting_model()
    inputs = batch()
    first, traced = calls_of(lambda: model.apply(params, inputs)["logits"])
    other = {**inputs, "target": (inputs["target"] + 1) % 23}
    _, again = calls_of(lambda: model.apply(params, other))
    assert traced > 0
    assert again == 0
    with jax.disable_jit():
        eager, computed = calls_of(lambda: model.apply(params, inputs)["logits"])
    assert computed > 0
    np.testing.assert_allclose(eager, first, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="outside of its table"):
        model.apply(params, {**inputs, "target": inputs["target"] + 23})
    start = {"target": inputs["target"], "target_lengths": jnp.array([3, 2, 5])}
    (logits, cache, _), _ = calls_of(lambda: model.start(params, start, steps=2))
    assert calls_of(lambda: model.start(params, start, steps=2))[1] == 0
    tokens = logits.argmax(-1)
    assert calls_of(lambda: model.step(params, tokens, cache))[1] > 0
    assert calls_of(lambda: model.step(params, tokens, cache))[1] == 0


def test_within_a_program_a_call_is_the_modules_own_operations():
    model, inputs = tiny("decoder_only", position="rotary"), batch()

    def program(apply):
        return str(jax.make_jaxpr(lambda params: apply(params)["logits"])(model.params))

    def of_module(params):
        return model.model.module.apply({"params": params}, inputs)

    assert program(lambda params: model.model.apply(params, inputs)) == program(of_module)
    constant = program(lambda params: model.model.apply(model.params, inputs))  # nothing that it is given is traced
    assert "compute" not in constant


def test_a_function_that_replaces_is_read_anew_in_each_call_and_not_kept():
    model, params = counting_model()
    factor = [1.0]

    def scaled(x):
        return x * factor[0]

    def logits():
        return np.asarray(model.apply(params, batch(), replace={"decoder.embedding": scaled})["logits"])

    first = logits()
    factor[0] = 0.0
    assert np.abs(logits() - first).max() > 0.01
    reference = weakref.ref(scaled)
    del scaled, logits
    gc.collect()
    assert reference() is None


def test_a_model_that_is_dropped_is_not_kept():
    model, params = counting_model()
    model.apply(params, batch())
    model.apply(params, batch(), replace={"decoder.embedding": jnp.zeros_like})
    references = [weakref.ref(model), weakref.ref(model.module)]
    del model
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_tracing_draws_no_parameter_and_traces_a_stack_of_layers_once(monkeypatch):
    model = transformer.build(what_is_read({**SIZES, "architecture": "seq2seq"}))
    shapes, applied, real = model.parameter_shapes, [], Block.__call__

    def recorded(block, *inputs):
        applied.append(block.stack)
        return real(block, *inputs)

    def drawn(*arguments):
        pytest.fail("a parameter was drawn")

    monkeypatch.setattr(Block, "__call__", recorded)
    for initializer in (Normal, Constant):
        monkeypatch.setattr(initializer, "draw", drawn)
    jax.eval_shape(model.apply, shapes, batch())
    assert applied == ["encoder", "decoder"]


def test_a_parameter_of_another_shape_is_an_error_of_a_module_by_itself_too():
    config = tiny("decoder_only").model.config.as_settings
    x = jnp.ones((1, 2, SIZES["width"]))
    module = Linear(config, "up")
    params = module.init(jax.random.key(0), x)["params"]
    params["kernel"] = params["kernel"][:, 1:]
    with pytest.raises(UserError, match=r"parameter up\.kernel has another shape; got \(12, 16\); expected \(12, 17\)"):
        module.apply({"params": params}, x)
