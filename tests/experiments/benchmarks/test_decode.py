"""The benchmark of generation prints this library's speed, and names the other programs that are not installed."""

import importlib.util

import pytest

from experiments.benchmarks.decode import DecodeBenchFlags, time_decoding
from experiments.benchmarks.decode_cases import Case
from experiments.benchmarks.report import Report

SIZES = {"vocab_size": 50, "width": 16, "num_heads": 2, "num_layers": 2, "feed_forward_width": 32, "max_length": 64}
CASES = (Case("gpt2", SIZES, batch=2, read=4, steps=3), Case("marian", SIZES, batch=2, read=4, steps=3, width=2))


@pytest.mark.more
def test_without_the_other_programs_this_library_is_timed_alone(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    time_decoding(DecodeBenchFlags(peers=True, rounds=1), [], Report("decode", [], None), cases=CASES)
    printed = capsys.readouterr().out
    assert "not installed: transformers (PyTorch), CTranslate2" in printed
    assert printed.count("tokens/s") == 2
    assert "greedy, batch 2" in printed
    assert "beam 2, batch 2" in printed


@pytest.mark.peers
def test_the_other_programs_are_timed_beside_this_library(capsys):
    time_decoding(DecodeBenchFlags(peers=True, rounds=1), [], Report("decode", [], None), cases=CASES)
    printed = capsys.readouterr().out
    assert "not installed" not in printed
    assert printed.count("transformers (PyTorch)") == 2
    assert printed.count("CTranslate2") == 1
