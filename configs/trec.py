"""TREC."""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="classification", data="files")
    c.data.update(num_buckets=2, length_multiple=8)
    c.data.files.update(validation_share=0.1, test_share=0.0)
    c.tokenizer.update(name="bpe", vocab_size=4000)
    c.model.update(architecture="encoder_only", num_layers=2, num_encoder_layers=1, num_decoder_layers=1)
    c.model.update(width=128, num_heads=4, dropout=0.4, unroll=True)
    c.model.class_head.reads = "mean"
    c.optimizer.update(learning_rate=2e-3, warmup_steps=50, final_fraction=0.0)
    c.training.update(steps=600, batch_size=32, label_smoothing=0.1, initial_scale=0.3)
    c.training.output.update(evaluate_every=100)
    return c
