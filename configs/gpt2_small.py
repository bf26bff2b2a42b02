"""GPT-2 small, 124M parameters, on text of your own.

python -m experiments.train --config=configs/gpt2_small.py --workdir=runs/gpt2 --config.data.path=FOLDER_OR_FILE

The model of Radford et al. 2019 (12 layers, width 768, 12 heads, context 1,024, vocabulary padded to 50,304:
124,475,904 parameters) in the training setting of nanoGPT: 480 windows of 1,024 tokens an update in 40 parts, learning
rate 6e-4 with 2,000 warm-up updates and cosine, beta2 0.95, weight decay 0.1, bfloat16.

No GPU was available: time, cost and loss on one have not been measured. To run it on a CPU, make it smaller:
--config.training.batch_size=2 --config.training.accumulation=1 --config.task.context=128. For an update on these 256
tokens experiments.plan prints 193.4 GFLOPs of matrix products, 197.9 of all, and a peak of 2.94 GB. Its estimate from 5
steps did not end within 6 minutes beside other jobs (2 cores of an Intel Xeon at 2.5 GHz, bfloat16): training it takes
an accelerator.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="language_modelling", data="files")
    c.task.context = 1024
    c.tokenizer.name = "bpe"
    c.tokenizer.vocab_size = 50_263  # six special tokens and GPT-2's 50,257
    c.model.update(architecture="decoder_only", num_layers=12, num_heads=12, width=768, max_length=1024)
    c.model.update(position="learned", activation="gelu_tanh", dtype="bfloat16", vocab_size=50_304)
    c.optimizer.update(learning_rate=6e-4, warmup_steps=2000, final_fraction=0.1, beta2=0.95, weight_decay=0.1)
    c.training.update(steps=600_000, batch_size=480, accumulation=40)
    return c
