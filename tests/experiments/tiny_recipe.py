"""Dates at a size that trains in seconds, with everything on that resuming must keep: dropout, parts, an average."""

from ml_collections import ConfigDict

from experiments.settings import defaults


def get_config() -> ConfigDict:
    c = defaults(task="text_to_text", data="dates")
    c.model.update(architecture="seq2seq", num_layers=1, width=12, num_heads=3, dropout=0.1)
    c.data.update(examples=500, evaluation_examples=20)
    c.data.dates.update(locales=("en", "de", "ja"), first_year=2000, last_year=2009)
    c.optimizer.update(warmup_steps=5)
    c.training.update(steps=60, batch_size=8, accumulation=2, ema_decay=0.9, label_smoothing=0.1)
    c.training.output.update(log_every=7, evaluate_every=25, checkpoint_seconds=0.3)
    return c
