import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from tests.decoding.test_generate import STEPS, prompted
from tests.fixtures.tiny import ARCHITECTURES, tiny
from transformer.decoding import generate


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_generation_exports_for_every_platform_and_the_export_gives_the_same_tokens(architecture):
    model, inputs = tiny(architecture, position="learned", tie_embeddings=False), prompted(architecture)
    run = jax.jit(lambda params, inputs: generate(model.model, params, inputs, steps=STEPS, end=1))
    exported = export.export(run, platforms=("cpu", "cuda", "tpu"))(model.params, inputs)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    loaded = export.deserialize(exported.serialize())
    found = loaded.call(model.params, inputs)
    tokens = np.asarray(found.tokens)
    jax.tree.map(np.testing.assert_array_equal, found, run(model.params, inputs))
    assert len(np.unique(tokens)) > 1
    assert loaded.out_avals[0].dtype == jnp.int32
