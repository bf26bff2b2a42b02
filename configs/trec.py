"""TREC."""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="files")
    c.data.num_buckets = 3
    c.data.files.update(validation_share=0.1, test_share=0.0)
    c.tokenizer.name = "words"
    c.model.update(architecture="encoder_only", num_layers=1, width=256, num_heads=4, dropout=0.4, window=3)
    c.model.class_head.reads = "max"
    c.optimizer.update(learning_rate=2e-3, warmup_steps=50, final_fraction=0.0)
    c.training.update(steps=500, batch_size=32, label_smoothing=0.1, initial_scale=0.3)
    c.training.output.update(evaluate_every=100)
    return c
