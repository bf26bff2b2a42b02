"""Our encoder on the inputs and parameters of torch.nn.GRU or LSTM, as `make_golden.recurrent` records them."""

import jax
import jax.numpy as jnp

from tests.golden.files import Record
from tests.golden.torch_layout import as_jax, assert_close, part, recurrent
from transformer.models.config import model_config
from transformer.nn.dropout import Dropout
from transformer.nn.intermediates import Request
from transformer.nn.recurrent.stacks import RecurrentEncoder


def check_recurrent(record: Record, kind: str, *, bidirectional: bool = True) -> None:
    """The states, the last ones and all gradients agree."""
    source_BSD, lengths_B = jnp.asarray(record["source"]), jnp.asarray(record["lengths"])
    S, D = source_BSD.shape[1:]
    layers = len(record["last0"])
    recurrent_settings = {"cell": kind, "bidirectional": bidirectional, "attention": "none"}
    config = {"architecture": "rnn_seq2seq", "width": D, "num_layers": layers, "recurrent": recurrent_settings}
    encoder = RecurrentEncoder(model_config(config), Request())
    alive_BS = jnp.arange(S) < lengths_B[:, None]
    weights = [jnp.asarray(record[name]) for name in record if name.startswith("cotangent")]

    def loss(params: dict, source_BSD: jax.Array) -> tuple[jax.Array, dict]:
        states_BSD, _, last, _ = encoder.apply(
            {"params": params}, source_BSD, alive_BS=alive_BS, segments_BS=None, dropout=Dropout()
        )
        # PyTorch's states are zero behind an example; ours are not said to be anything there.
        results = {"output": jnp.where(alive_BS[..., None], states_BSD, 0.0)}
        results |= {f"last{i}": x for i, x in enumerate(last)}
        return sum(jnp.sum(x * w) for x, w in zip(results.values(), weights, strict=True)), results

    def read(prefix: str) -> dict:
        return {"blocks": recurrent(part(record, prefix), kind, layers, bidirectional)}

    gradients, results = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(as_jax(read("state.")), source_BSD)
    assert_close(results, {name: record[name] for name in results})
    assert_close(gradients[0], read("grad."))
    assert_close({"source": gradients[1]}, {"source": record["grad.source"]})
