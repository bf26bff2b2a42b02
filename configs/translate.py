"""Your own pairs of lines: a source file and a target file train a small Transformer on a CPU.

python -m experiments.train --config=configs/translate.py --workdir=runs/mine \
    --config.data.source_path=mine.en --config.data.target_path=mine.de
python -m experiments.evaluate --workdir=runs/mine
python -m experiments.generate --workdir=runs/mine --input="a sentence"

On the 29,000 pairs of Multi30k (English into German) as such files, 600 of the 2,000 steps
(--config.training.steps=600 --config.training.output.evaluate_every=300): 16.3 BLEU on validation (6.9 after 300),
3.362 nats per token; "two dogs play in the snow ." becomes "zwei hunde spielen im schnee .". About 7 minutes, of which
more than half went into compiling, on 2 cores of an Intel Xeon at 2.5 GHz that is shared with others; Python 3.11.7,
JAX 0.10.2. 1,438,208 parameters; 8 shapes of batches, 17.9 % padding.

A twentieth of the lines is held out for validation, and another for the test; files of their own are given by
--config.data.validation_path=A,B and --config.data.test_path=A,B.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="files")
    c.task.bleu = "13a"
    c.data.num_buckets = 8
    c.tokenizer.update(name="bpe", vocab_size=4000)
    c.model.update(architecture="seq2seq", num_layers=2, width=128, num_heads=4, dropout=0.1, unroll=True)
    c.optimizer.update(learning_rate=2e-3, warmup_steps=200)
    c.training.update(steps=2000, batch_size=64, label_smoothing=0.1)
    c.training.output.update(evaluate_every=500, best="bleu")
    return c
