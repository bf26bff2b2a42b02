"""A score of one's own: minus the squared distance of query and key, scaled by a setting of its own."""

import dataclasses

from transformer import build, register
from transformer.ops.scores import Score, dot


@dataclasses.dataclass(frozen=True)
class Settings:
    scale: float = 0.5


def distance(query_BTNH, key_BSNH, *, settings):
    squares_BNS = (key_BSNH**2).sum(-1).swapaxes(1, 2)  # that of the query is the same for all keys
    return settings.scale * (2 * dot(query_BTNH, key_BSNH) - squares_BNS[:, :, None])


register("score", "distance", Score(distance, settings=Settings))
print(build(architecture="decoder_only", vocab_size=11, score="distance", score_settings={"scale": 0.1}))
