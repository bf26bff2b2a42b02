"""Your own pairs of texts: a Seq2Seq Transformer whose sizes follow the data.

python -m experiments.train --config=configs/text_to_text.py --workdir=runs/mine --config.data.path=pairs.tsv
python -m experiments.train --config=configs/text_to_text.py --workdir=runs/mine \
    --config.data.source_path=mine.en --config.data.target_path=mine.de

A line of the TSV is source<TAB>target; JSONL does as well. A twentieth is held out for validation and another for the
test unless files are named. A line at the start has the sizes that were chosen (`experiments/training/sizes.py`), and a
flag takes the place of any of them. --config.task.bleu=13a adds BLEU and chrF.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="files")
    c.sizes_from_data = True
    c.data.num_buckets = 8
    c.tokenizer.name = "bpe"
    c.model.update(architecture="seq2seq", position="sinusoidal", unroll=True)
    c.optimizer.update(learning_rate=2e-3)
    c.training.update(batch_size=64, label_smoothing=0.1)
    return c
