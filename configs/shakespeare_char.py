"""Characters of Shakespeare's plays, by the smallest setting of nanoGPT."""

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
