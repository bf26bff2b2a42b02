"""Multi30k."""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="files")
    c.task.bleu = "none"  # the text is tokenized already
    c.data.update(num_buckets=20)
    c.tokenizer.update(name="bpe", vocab_size=10_262)  # six special tokens, 256 bytes, 10,000 merges
    c.model.update(architecture="seq2seq", num_layers=4, width=128, num_heads=4, feed_forward_width=256)
    c.model.update(norm_placement="post", activation="relu", position="sinusoidal", dropout=0.3)
    c.optimizer.update(learning_rate=5e-3, schedule="inverse_sqrt", warmup_steps=2000)
    c.optimizer.update(beta2=0.98, weight_decay=0.0, clip_norm=None)
    c.training.update(steps=8000, batch_tokens=8192, label_smoothing=0.1, average_last=10)
    c.training.output.update(evaluate_every=500, keep_every=200, best="bleu")
    return c
