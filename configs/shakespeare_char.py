"""Characters of Shakespeare's plays, in the setting that nanoGPT gives for a CPU (context 64, batch 12, no dropout).

python -m experiments.train --config=configs/shakespeare_char.py --workdir=runs/shakespeare --config.data.path=input.txt

On tinyshakespeare (the first 90 % of the characters to learn from, the others for validation), nats per character over
the whole validation split after 2,000 steps, 804,864 parameters:

    seeds 0, 1, 2    1.823, 1.798, 1.777: mean 1.799        nanoGPT's figure for this setting: 1.88

One run each beside other jobs, 2 to 3 minutes, on 2 cores of an AMD EPYC that is shared with others; Python 3.11.7,
JAX 0.10.2.

Any text file or folder does for --config.data.path. --config.model.architecture=encoder_only takes masked language
modelling with it, seq2seq span corruption; --config.task.objective=continuation is the task that is the same for all.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="language_modelling", data="files")
    c.data.files.update(split="tail", validation_share=0.1, test_share=0.0)
    c.task.context = 64
    c.model.update(architecture="decoder_only", num_layers=4, num_heads=4, width=128, unroll=True)
    c.model.update(position="learned", activation="gelu", bias=False)
    c.optimizer.update(learning_rate=1e-3, final_fraction=0.1, warmup_steps=100, beta2=0.99, weight_decay=0.1)
    c.training.update(steps=2000, batch_size=12)
    return c
