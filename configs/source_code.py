"""The source code of Python's standard library, which every machine has.

python -m experiments.train --config=configs/source_code.py --workdir=runs/source_code
python -m experiments.generate --workdir=runs/source_code --input="def read(self" --temperature=0.7 --max_new_tokens=150

800 steps, 1.6 million tokens, 1,311,872 parameters, 5 min 34 s (beside other jobs), bits per byte:

                                  validation (275,486 bytes)    test (275,541 bytes)
    this model                         1.604                         1.515
    xz -9 on the same text             1.612                         1.762

xz reads the text alone; the model was trained on the rest of the library. evaluate prints both. One run, seed 0, Python
3.11.7's own library (579 files), on
2 cores of an AMD EPYC that is shared with others; Python 3.11.7, JAX 0.10.2. What it writes:

    def read(self, *, *args, **kw):
            return self.subclass(self.default)

        def get_list(self, *args):
            return self.prop(self.__next, **self.items, self.mapping_str)

        def _lope(self):
            '''Child the quote of valid operation from the quote option
            the path (e.

            If the manager is defined.
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
