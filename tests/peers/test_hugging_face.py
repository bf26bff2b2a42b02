"""GPT-2, BERT and LLaMA are settings of ours: from the same parameters, Hugging Face's numbers and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.golden.torch_layout import assert_close
from tests.peers.families import FAMILIES, V
from transformer.ops.attend import KERNELS

pytestmark = pytest.mark.peers

B, T = 3, 7


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def test_every_parameter_has_its_place(family, hugging_face, make_golden):
    theirs, model, params = family.pair(hugging_face, make_golden)
    ours = jax.eval_shape(model.init, jax.random.key(0))
    assert jax.tree.map(np.shape, ours) == jax.tree.map(np.shape, params)
    assert sum(x.size for x in jax.tree.leaves(params)) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("kernels", KERNELS)
def test_result_and_gradients_are_those_of_hugging_face(family, kernels, torch, hugging_face, make_golden):
    random = np.random.default_rng(1)
    theirs, model, params = family.pair(hugging_face, make_golden, kernels=kernels)
    tokens_BT = random.integers(1, V, size=(B, T))  # BERT's padding token, 0, has no gradient there
    types_BT = random.integers(2, size=(B, T))
    lengths_B = np.array([T, 3, 1])
    encoder = model.config.architecture == "encoder_only"

    attention_mask = ~make_golden.hidden_keys(lengths_B, T)
    extra = {"token_type_ids": torch.from_numpy(types_BT)} if encoder else {}
    out = theirs(input_ids=torch.from_numpy(tokens_BT), attention_mask=attention_mask.long(), **extra)
    expected = out.last_hidden_state if encoder else out.logits
    cotangent = make_golden.normal(random, *expected.shape)
    (expected * torch.from_numpy(cotangent)).sum().backward()

    side, read = ("source", "hidden") if encoder else ("target", "logits")
    batch = {side: tokens_BT, f"{side}_lengths": lengths_B} | ({"source_types": types_BT} if encoder else {})
    batch = {name: jnp.asarray(x, jnp.int32) for name, x in batch.items()}

    def loss(params: dict) -> tuple[jax.Array, jax.Array]:
        result = model.apply(params, batch)[read]
        return jnp.sum(result * cotangent), result

    gradients, result = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_close(result, expected.detach().numpy())
    assert_close(gradients, family.read(make_golden.gradients_of(theirs)), tolerance=2e-5)
