"""Commands that train, evaluate and compare models, and what they are made of."""

import sys

from experiments.training.signals import CommandSignals

if sys.argv[:1] == ["-m"] and any(word.removeprefix("-m").startswith("experiments.") for word in sys.orig_argv):
    # Python is about to run `python -m experiments.NAME`: a signal counts from here on, before the first slow import.
    CommandSignals()
