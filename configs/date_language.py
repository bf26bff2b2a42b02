"""Language of a written date: 48 languages, by Unicode's CLDR.

python -m experiments.train --config=configs/date_language.py --workdir=runs/language

Accuracy on 2,000 test examples after 500 steps, of days that no training example names. Some strings are written alike
in several languages, so that at most 96.08 % can be right (train and evaluate print this ceiling):

    encoder_only  95.5 %    153,328 parameters    46 s
    decoder_only  95.4 %    153,328 parameters    --config.model.architecture=decoder_only
    seq2seq       95.7 %    286,960 parameters    --config.model.architecture=seq2seq (2 + 2 blocks)

One run each, seed 0, on 2 cores of an AMD EPYC that is shared with others; Python 3.11.7, JAX 0.10.2.
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
