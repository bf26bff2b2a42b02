"""English captions into German: Multi30k with Transformer-Tiny (Wu et al. 2021), the setting in full.

python -m experiments.train --config=configs/multi30k.py --workdir=runs/multi30k \
    --config.data.source_path=train.en.gz --config.data.target_path=train.de.gz \
    --config.data.validation_path=val.en.gz,val.de.gz \
    --config.data.test_path=test_2016_flickr.en.gz,test_2016_flickr.de.gz
python -m experiments.evaluate --workdir=runs/multi30k --strategy=beam --width=5    # BLEU and chrF with signatures

4 + 4 layers of width 128, feed-forward 256, 4 heads, norms after the sublayers, all embeddings shared, joint BPE of
10,000 merges, dropout 0.3, label smoothing 0.1, learning rate 5e-3 with 2,000 warm-up updates and inverse square root,
8,000 updates of 8,192 tokens, the mean of the last 10 checkpoints. Published: 41.02 BLEU (test 2016, beam 5). 2,638,592
parameters; 19 shapes of batches; 9.6 % padding.

All of it has not been run yet: it takes a GPU, and no time or BLEU of one is claimed. The first 300 updates, still
within the warm-up, beside a reference at half the rate (--config.optimizer.learning_rate=2.5e-3; both with
--config.training.steps=300 --config.training.output.evaluate_every=100 --config.training.output.log_every=10); nats per
token, BLEU greedy, with tokenize none and the last parameters:

    update                20     60    100    140    180    200    220    260    300
    5e-3, training      9.27   8.19   7.31   6.46   5.74   5.62   5.79   5.55   5.30
    2.5e-3, training    9.42   8.54   7.97   7.25   6.37   6.18   6.18   5.79   5.55
    5e-3, validation                 6.958                5.796                5.390    test BLEU 1.7
    2.5e-3, validation               7.676                6.275                5.642    test BLEU 0.5

Beside other jobs 4 to 30 s an update, on 2 cores of an AMD EPYC that is shared with others; Python 3.11.7, JAX 0.10.2.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="files")
    c.task.bleu = "none"  # the text is tokenized already
    c.data.update(num_buckets=20)
    c.tokenizer.update(name="bpe", vocab_size=10_262)  # six special tokens, 256 bytes, 10,000 merges
    c.model.update(architecture="seq2seq", num_layers=4, width=128, num_heads=4, feed_forward_width=256)
    c.model.update(norm_placement="post", activation="relu", position="sinusoidal", dropout=0.3)
    c.optimizer.update(learning_rate=5e-3, schedule="inverse_sqrt", warmup_steps=2000)
    c.optimizer.update(beta2=0.98, weight_decay=0.0, clip_norm=None)
    c.training.update(steps=8000, batch_tokens=8192, label_smoothing=0.1, average_last=10)
    c.training.output.update(evaluate_every=500, keep_every=60, best="bleu")
    return c
