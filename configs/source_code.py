"""The source code of Python's standard library, which every machine has.

python -m experiments.train --config=configs/source_code.py --workdir=runs/source_code
python -m experiments.generate --workdir=runs/source_code --input="def read(self" --temperature=0.7 --max_new_tokens=150

SOURCERESULT
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="language_modelling", data="source_code")
    c.task.context = 256
    c.tokenizer.update(name="bpe", vocab_size=2048)
    c.model.update(architecture="decoder_only", num_layers=4, num_heads=4, width=128, unroll=True)
    c.model.update(position="rotary", activation="swiglu", norm="rms", bias=False)
    c.optimizer.update(name="muon", learning_rate=4e-3, schedule="wsd", final_fraction=0.0, warmup_steps=50)
    c.training.update(steps=800, batch_size=8)
    c.training.output.update(evaluate_every=400)
    return c
