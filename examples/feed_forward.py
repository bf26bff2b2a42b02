"""A feed-forward of one's own: one matrix, learned, in place of two."""

import flax.linen as nn

from transformer import build
from transformer.nn.module_rows import FeedForwardRow
from transformer.nn.parameters import declare
from transformer.tables import Parameter


class OneMatrix(nn.Module):
    config: object

    @nn.compact
    def __call__(self, x_BTD, recorder):
        return recorder.record("output", nn.relu(x_BTD) @ declare(self, "feed_forward", "matrix", self.config))


row = FeedForwardRow(OneMatrix, {"feed_forward.matrix": Parameter("D -> D")}, reads_activation=False, reads_width=False)
print(build(architecture="decoder_only", vocab_size=11, feed_forward=row))
