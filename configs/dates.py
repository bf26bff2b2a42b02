"""Dates in dozens of languages, read into ISO 8601 by a Seq2Seq Transformer.

python -m experiments.train --config=configs/dates.py --workdir=runs/dates
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="dates")
    c.model.update(architecture="seq2seq", num_layers=2, width=128, num_heads=4)
    c.training.update(steps=2000, batch_size=64)
    return c
