"""A tokenizer of one's own: syllables, each some consonants and the vowels behind them, or what is left."""

import json
import re

import numpy as np

from experiments import api
from experiments.data.tokenizers.tokens import FIRST, REPLACEMENT, Tokenizer

SYLLABLE = re.compile(r"[^\W\daeiou]*[aeiou]+|[^\W\d]+|.", re.IGNORECASE | re.DOTALL)


class Syllables(Tokenizer):
    def __init__(self, pieces):
        self.pieces = tuple(pieces)
        self.ids = {piece: FIRST + i for i, piece in enumerate(self.pieces)}

    @classmethod
    def fit(cls, texts):
        return cls(sorted({piece for text in texts for piece in SYLLABLE.findall(text)}))

    @property
    def size(self):
        return FIRST + len(self.pieces)

    @property
    def byte_lengths(self):
        return np.array([0] * FIRST + [len(piece.encode()) for piece in self.pieces], np.int64)

    def encode(self, text):
        return np.array([self.ids.get(piece, self.unknown) for piece in SYLLABLE.findall(text)], np.int32)

    def decode(self, ids):
        known = [int(token) for token in ids if token >= self.unknown]
        return "".join(self.label(token) if FIRST <= token < self.size else REPLACEMENT for token in known)

    def label(self, token):
        return self.pieces[token - FIRST]

    def to_json(self):
        return json.dumps({"pieces": self.pieces})

    @classmethod
    def from_json(cls, text):
        return cls(json.loads(text)["pieces"])


api.register("tokenizer", "syllables", Syllables)

if __name__ == "__main__":
    recipe = {
        "tokenizer": {"name": "syllables"},
        "data": {"source": "dates", "examples": 100, "evaluation_examples": 20, "num_buckets": 1},
        "model": {"architecture": "encoder_only", "width": 16, "num_heads": 2, "num_layers": 1},
        "training": {"steps": 3, "batch_size": 10},
    }
    print(api.train(recipe, workdir="runs/syllables", progress=False).tokenizers.source.pieces[:9])
