"""A layout of a block of one's own: ReZero without norms (Bachlechner et al. 2020) at a fixed small factor."""

from transformer import build
from transformer.nn.block_layout import BlockLayout


def small_steps(x, sublayers, norm, drop):
    for name, sublayer in sublayers.items():
        x = x + 0.1 * drop(name)(sublayer(x))
    return x


layout = BlockLayout(small_steps, final_norm=False)
print(build(architecture="decoder_only", vocab_size=11, norm_placement=layout))
