"""GPT-2, BERT and LLaMA are settings of ours: from the same parameters, Hugging Face's numbers and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.torch_layout import assert_close
from tests.peers.families import V, pair
from transformer.ops.kernels import WAYS

pytestmark = pytest.mark.peers

B, T = 3, 7


@pytest.mark.parametrize("kernels", WAYS)
@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_result_and_gradients_are_those_of_hugging_face(name, kernels, torch, hugging_face, make_golden):
    random = np.random.default_rng(1)
    both = pair(name, hugging_face, make_golden, kernels=kernels)
    theirs, model, params = both
    tokens_BT = random.integers(1, V, size=(B, T))  # BERT's padding token, 0, has no gradient there
    types_BT = random.integers(2, size=(B, T))
    lengths_B = np.array([T, 3, 1])
    encoder = model.config.architecture == "encoder_only"

    attention_mask = ~make_golden.hidden_keys(lengths_B, T)
    extra = {"token_type_ids": torch.from_numpy(types_BT)} if encoder else {}
    out = theirs(input_ids=torch.from_numpy(tokens_BT), attention_mask=attention_mask.long(), **extra)
    expected = out.logits
    cotangent = make_golden.normal(random, *expected.shape)
    (expected * torch.from_numpy(cotangent)).sum().backward()

    side = "source" if encoder else "target"
    batch = {side: tokens_BT, f"{side}_lengths": lengths_B} | ({"source_types": types_BT} if encoder else {})
    batch = {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}

    def loss(params: dict) -> tuple[jax.Array, jax.Array]:
        result = model.apply(params, batch)["logits"]
        return jnp.sum(result * cotangent), result

    gradients, result = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(result, expected.detach().numpy())
    assert_close(gradients, both.as_ours(make_golden.gradients_of(theirs)), tolerance=2e-5)
