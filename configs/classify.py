"""Your own labelled texts: a classifier whose sizes follow the data.

python -m experiments.train --config=configs/classify.py --workdir=runs/mine --config.data.path=train.tsv

A line of the file is LABEL<TAB>text; JSONL does as well (--config.data.files.text_field=NAME,
--config.data.files.label_field=NAME). A tenth is held out for validation unless --config.data.validation_path names a
file; --config.data.test_path names a test. A line at the start has the sizes that were chosen
(`experiments/training/sizes.py`), and a flag takes the place of any of them.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="files")
    c.sizes_from_data = True
    c.data.num_buckets = 4
    c.data.files.update(validation_share=0.1, test_share=0.0)
    c.tokenizer.name = "words"
    c.model.update(architecture="encoder_only", position="relative", unroll=True)
    c.model.class_head.reads = "max"
    c.optimizer.update(learning_rate=2e-3, final_fraction=0.0)
    c.training.update(batch_size=32, label_smoothing=0.1, initial_scale=0.3)
    return c
