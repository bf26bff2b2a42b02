"""A task of one's own: the texts without some of their words, to be written in full."""

import dataclasses

import numpy as np

from experiments import api
from experiments.data.examples import Pair
from experiments.tasks.rows import TaskRow
from experiments.tasks.text_to_text import TextToText


@dataclasses.dataclass(frozen=True)
class Share:
    share: float = 0.3


class Restore(TextToText):
    @classmethod
    def transform(cls, splits, settings):
        random = np.random.default_rng(settings.seed)

        def without_words(pair):
            kept = [word for word in pair.source.split() if random.random() >= settings.own.share]
            return Pair(" ".join(kept), pair.source)

        return splits.map(without_words)


api.register("task", "restore", TaskRow(Restore, settings=Share))

if __name__ == "__main__":
    data = {"source": "dates", "examples": 100, "evaluation_examples": 20, "num_buckets": 1}
    recipe = {
        "task": {"name": "restore", "name_settings": {"share": 0.5}},
        "data": data,
        "model": {"architecture": "decoder_only", "width": 16, "num_heads": 2, "num_layers": 1},
        "training": {"steps": 3, "batch_size": 10},
    }
    run = api.train(recipe, workdir="runs/restore", progress=False)
    print(run.task.splits.train[0], run.evaluate()["exact_match"])
