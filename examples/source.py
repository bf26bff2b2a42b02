"""A source of one's own: texts and what they are backwards, drawn by the seed."""

from experiments import api
from experiments.data.examples import Pair
from experiments.data.sources.rows import drawn


def backwards(random):
    text = "".join(random.choice(list("abcdef"), size=random.integers(3, 9)))
    return Pair(text, text[::-1])


api.register("source", "backwards", drawn(backwards))
