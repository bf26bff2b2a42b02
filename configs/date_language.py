"""Which language is this date written in? 48 languages, by Unicode's CLDR.

python -m experiments.train --config=configs/date_language.py --workdir=runs/language

LANGRESULT
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="date_language")
    c.model.update(architecture="encoder_only", num_layers=2, width=64, num_heads=4, unroll=True)
    c.data.update(examples=50_000, length_multiple=8)
    c.training.update(steps=500, batch_size=64)
    c.training.output.evaluate_every = 250
    return c
