"""An architecture of one's own: x + tanh(a) W, of the moving average a_t = d a_{t-1} + (1 - d) x_t of each segment."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from transformer import build
from transformer.models.batch import extent, real
from transformer.nn.dropout import Dropout
from transformer.nn.heads import last, output_head, predictions, token_table
from transformer.nn.intermediates import Request
from transformer.nn.module_rows import Architecture
from transformer.nn.modules import RowParameters
from transformer.nn.positions import positions_of
from transformer.nn.recorder import Recorder
from transformer.ops.linear import embed
from transformer.tables import Parameter

OWN = {"decay": Parameter("D", 2.0), "mix": Parameter("D -> D")}


class MovingAverages(nn.Module):
    config: object
    request: Request = Request()

    def setup(self):
        self.embedding, self.head = token_table(self.config, "embedding"), output_head(self.config)
        self.average = RowParameters(self.config, "average", OWN)

    def read(self, tokens_BT, average_BD, begins_BT, real_BT):
        own, x_BTD = self.average(), embed(tokens_BT, self.embedding(), self.config.compute_dtype)
        decay_D, mix_DD = jax.nn.sigmoid(own["decay"])[None].astype(x_BTD.dtype), own["mix"].astype(x_BTD.dtype)

        def one(average_BD, now):
            x_BD, begins_B1, real_B1 = now
            new_BD = decay_D * jnp.where(begins_B1, 0, average_BD) + (1 - decay_D) * x_BD
            return jnp.where(real_B1, new_BD, average_BD), new_BD

        swapped = [jnp.swapaxes(x, 0, 1) for x in (x_BTD, begins_BT[..., None], real_BT[..., None])]
        average_BD = jnp.zeros_like(x_BTD[:, 0]) if average_BD is None else average_BD
        average_BD, averages_TBD = jax.lax.scan(one, average_BD, swapped)
        return x_BTD + jnp.tanh(jnp.swapaxes(averages_TBD, 0, 1)) @ mix_DD, average_BD

    def whole(self, batch):
        positions = positions_of(batch["target"].shape[1], batch.get("target_segments"))
        every_BT, real_BT = jnp.ones_like(batch["target"], bool), real(batch, "target")
        return self.read(batch["target"], None, every_BT & (positions == 0), every_BT if real_BT is None else real_BT)

    def __call__(self, batch, dropout=Dropout()):
        (hidden_BTD, _), recorder = self.whole(batch), Recorder(self.request, "decoder")
        out = predictions(self.head, hidden_BTD, self.embedding(), extent(batch, "target"), recorder)
        return {**out, "hidden": hidden_BTD, "captured": recorder.captured}

    def start(self, batch, steps):
        (hidden_BTD, average_BD), lengths_B = self.whole(batch), batch["target_lengths"]
        cache = {"average": average_BD, "remaining": batch["target"].shape[1] + steps - lengths_B}
        return self.head(last(hidden_BTD, lengths_B), self.embedding()), cache, {}

    def step(self, tokens_B, cache):
        go_on = jnp.ones_like(tokens_B, bool)[:, None]
        hidden_B1D, average_BD = self.read(tokens_B[:, None], cache["average"], ~go_on, go_on)
        return self.head(hidden_B1D[:, 0], self.embedding()), {**cache, "average": average_BD}, {}


averages = Architecture(
    MovingAverages, {f"average.{name}": own for name, own in OWN.items()}, like="decoder_only", parts=()
)
if __name__ == "__main__":
    print(build(architecture=averages, vocab_size=11))
