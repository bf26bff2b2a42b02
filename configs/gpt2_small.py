"""GPT-2 small."""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="language_modelling", data="files")
    c.task.context = 1024
    c.tokenizer.name = "bpe"
    c.tokenizer.vocab_size = 50_263  # six special tokens and GPT-2's 50,257
    c.model.update(architecture="decoder_only", num_layers=12, num_heads=12, width=768, max_length=1024)
    c.model.update(position="learned", activation="gelu_tanh", dtype="bfloat16", kernels="fast", vocab_size=50_304)
    c.optimizer.update(learning_rate=6e-4, warmup_steps=2000, final_fraction=0.1, beta2=0.95, weight_decay=0.1)
    c.training.update(steps=600_000, batch_size=480, accumulation=40)
    return c
