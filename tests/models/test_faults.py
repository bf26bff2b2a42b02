"""Numbers of a batch that mean nothing to a model: what is computed from them is NaN in every output."""

import jax
import numpy as np
import pytest

import transformer
from tests.fixtures.tiny import SIZES, B, T, V, batch, randomised, tiny
from transformer import Model, UserError


@pytest.mark.parametrize("classes", [None, 3])
def test_traced_faults_are_nan_in_the_hidden_states_as_in_the_logits(classes):
    settings = {**SIZES, "architecture": "decoder_only", "num_layers": 1, "class_head": {"classes": classes}}
    model = transformer.build(settings)
    inputs = {name: array for name, array in batch().items() if name.startswith("target")}
    inputs = {**inputs, "target": inputs["target"].at[0, 2].set(V), "target_lengths": np.array([T, 2, -1])}
    params = randomised(model.parameter_shapes)
    out = jax.jit(model.apply)(params, inputs)
    expected = np.zeros((B, T), bool)
    expected[0, 2] = expected[2] = True
    np.testing.assert_array_equal(np.isnan(out["hidden"]), np.broadcast_to(expected[..., None], out["hidden"].shape))
    if classes is None:
        np.testing.assert_array_equal(np.isnan(out["logits"]).all(axis=-1), expected)
    else:
        np.testing.assert_array_equal(np.isnan(out["class_logits"]).all(axis=-1), [True, False, True])


@pytest.mark.parametrize("steps", [True, False, np.True_, np.array([1, 2])])
def test_what_is_no_number_of_steps_is_refused(steps):
    model = tiny("decoder_only")
    inputs = {"target": np.ones((B, 2), int)}
    with pytest.raises(UserError, match=r"nothing to decode; got .* steps; expected 1 or more, a whole number"):
        Model.start.__wrapped__(model.model, model.params, inputs, steps=steps)  # types are not checked
