"""Your own text, a file or a folder: a language model whose sizes follow the data.

python -m experiments.train --config=configs/language_model.py --workdir=runs/mine --config.data.path=FILE_OR_FOLDER

The end of the text, a tenth, is held out for validation. A line at the start has the sizes that were chosen
(`experiments/training/sizes.py`), and a flag takes the place of any of them. Tokens are characters;
--config.tokenizer.name=bpe takes subwords. --config.task.objective names another objective.
"""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="language_modelling", data="files")
    c.sizes_from_data = True
    c.data.files.update(split="tail", validation_share=0.1, test_share=0.0)
    c.task.context = 128
    c.model.update(architecture="decoder_only", position="rotary", norm="rms", bias=False, unroll=True)
    c.optimizer.update(learning_rate=2e-3, final_fraction=0.1, weight_decay=0.1)
    c.training.update(batch_size=16)
    return c
