"""Dates in dozens of languages, read into ISO 8601 by a Seq2Seq Transformer.

python -m experiments.train --config=configs/dates.py --workdir=runs/dates
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="dates")
    # Four blocks in every architecture: 2 + 2 of seq2seq, 4 in the one stack of the others.
    c.model.update(architecture="seq2seq", num_layers=4, num_encoder_layers=2, num_decoder_layers=2)
    c.model.update(width=128, num_heads=4, unroll=True)
    c.training.update(steps=2500, batch_size=64)
    return c
