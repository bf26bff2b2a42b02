"""The rungs of the ladder, and a model of each at one number of parameters.

RNN                      the decoder starts from the last states     Sutskever et al. 2014, arXiv:1409.3215
RNN + attention          it attends to every state                   Bahdanau et al. 2015, arXiv:1409.0473
attention alone          cross-attention layers, nothing else
... + self-attention     one layer of it on each side
Transformer              self-attention, cross-attention and feed-forward; Vaswani et al. 2017, arXiv:1706.03762
decoder-only             one sequence: source, separator, answer
encoder-only             source and mask slots, all filled at once
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

import transformer
from experiments.studies.frame.training import number_of_parameters
from transformer import Model
from transformer.errors import problem

EQUAL = 0.05
"""Largest difference of a number of parameters, as a share of the Transformer's."""
ROWS: dict[str, Mapping[str, Any]] = {
    "RNN": {"architecture": "rnn_seq2seq", "num_layers": 1, "recurrent": {"attention": "none"}},
    "RNN + attention": {"architecture": "rnn_seq2seq", "num_layers": 1, "num_heads": 1},
    "attention alone": {"self_attention": False, "feed_forward_width": 0, "num_layers": 2, "num_heads": 2},
    "attention alone, self too": {"feed_forward_width": 0, "num_layers": 1, "num_heads": 2},
    "Transformer": {"num_layers": 2, "num_heads": 2},
    "decoder-only": {"architecture": "decoder_only", "num_layers": 4, "num_heads": 2},
    "encoder-only": {"architecture": "encoder_only", "num_layers": 4, "num_heads": 2},
}
"""Model settings by rung; widths are even."""
RNN, ATTENDING, ALONE, SELF_TOO, TRANSFORMER, DECODER, ENCODER = ROWS
CHINESE = {
    ATTENDING: "RNN + 注意力",
    ALONE: "只有注意力",
    SELF_TOO: "只有注意力，含自注意力",
    DECODER: "仅解码器",
    ENCODER: "仅编码器",
}
"""Names of rungs in Chinese, where they differ."""


def of_size(special: Mapping[str, Any], vocabulary: int, size: int, name: str) -> Model:
    """Build the model of a rung, with the even width whose number of parameters is nearest to `size`.

    Raises:
        UserError: no width comes within EQUAL of it.
    """

    def build(width: int) -> Model:
        return transformer.build({"vocab_size": vocabulary, "width": width, **special})

    some = (8, 16, 24)
    # The number of parameters is a polynomial of the width, of degree two.
    count = np.polynomial.Polynomial.fit(some, [number_of_parameters(build(width)) for width in some], 2)
    widths = np.arange(2, 2 * int(size**0.5), 2)
    found = build(int(widths[np.abs(count(widths) - size).argmin()]))
    if abs(number_of_parameters(found) - size) > EQUAL * size:
        raise problem(
            f"no even width gives the rung {name!r} as many parameters as the Transformer has",
            got=f"{number_of_parameters(found):,}",
            expected=f"{size:,} within {EQUAL:.0%}",
            do="Choose a larger --width.",
        )
    return found
