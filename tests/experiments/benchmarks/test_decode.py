"""The benchmark of generation: this library's speed, equal numbers of tokens, other programs absent or failing."""

import importlib.util

import jax
import pytest

from experiments import bench
from experiments.benchmarks import decode, decode_peers
from experiments.benchmarks.decode import DecodeBenchFlags, program, time_decoding
from experiments.benchmarks.decode_cases import Case
from experiments.benchmarks.decode_peers import Peer
from experiments.benchmarks.processes import Failed
from experiments.benchmarks.report import OWN, Report
from tests.fixtures.commands import fails

SIZES = {"vocab_size": 50, "width": 16, "num_heads": 2, "num_layers": 2, "feed_forward_width": 32, "max_length": 64}
CASES = (Case("gpt2", SIZES, batch=2, read=4, steps=3), Case("marian", SIZES, batch=2, read=4, steps=3, width=2))


@pytest.mark.more
def test_without_the_other_programs_this_library_is_timed_alone(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    time_decoding(DecodeBenchFlags(peers=True, rounds=1), [], Report("decode", [], None), cases=CASES)
    printed = capsys.readouterr().out
    assert "not installed: ctranslate2, torch, transformers. Install" in printed
    assert printed.count("tokens/s") == 2
    assert "greedy, batch 2" in printed
    assert "beam 2, batch 2" in printed


@pytest.mark.more
@pytest.mark.parametrize("case", CASES, ids=str)
def test_this_library_writes_the_tokens_of_the_case(case):
    assert decode.own(case)() == 2 * 3
    assert program(case, OWN)(0) > 0


@pytest.mark.parametrize("written", [5, 7])
def test_another_number_of_tokens_is_an_error_of_the_first_call(monkeypatch, written):
    monkeypatch.setitem(decode_peers.PEERS, "other", Peer((), (), lambda case: lambda: written))
    with pytest.raises(RuntimeError, match=f"{written} tokens were written, not 2 x 3"):
        program(CASES[0], "other")(0)
    assert program(CASES[0], "other")(1) >= 0


def test_another_program_that_fails_is_left_out_with_its_reason(monkeypatch, capsys):
    def in_turns(programs, rounds, *, processes, optional, advance):
        assert (list(programs), optional, processes) == ([OWN, "other"], ["other"], 2)
        return {OWN: [9.0, 2.0, 4.0, 3.0], "other": Failed("ImportError: no library")}

    monkeypatch.setattr(decode, "in_turns", in_turns)
    monkeypatch.setattr(decode_peers, "PEERS", {"other": Peer(("jax",), ("gpt2",), None)})
    report = Report("decode", [], None)
    time_decoding(DecodeBenchFlags(peers=True, rounds=3, processes=2), [], report, cases=CASES[:1])
    assert "other is left out: ImportError: no library" in capsys.readouterr().out
    ((row,),) = (table["rows"] for table in report.tables)
    assert (row["tokens/s"], row["s"], row["least, s"], row["most, s"]) == (2.0, 3.0, 2.0, 4.0)
    (settings,) = report.settings.values()
    assert settings["kernels"] == "plain"


def test_the_other_programs_are_refused_where_jax_is_not_on_a_cpu(monkeypatch, capsys):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "got JAX on gpu. Set JAX_PLATFORMS=cpu" in fails(bench.main, ["decode", "--peers"], capsys)


@pytest.mark.peers
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("name", decode_peers.PEERS)
def test_the_other_programs_write_the_tokens_of_the_case(case, name):
    if case.model in decode_peers.PEERS[name].models:
        assert decode_peers.PEERS[name].make(case)() == 2 * 3


@pytest.mark.peers
def test_the_other_programs_are_timed_beside_this_library(capsys):
    time_decoding(DecodeBenchFlags(peers=True, rounds=1), [], Report("decode", [], None), cases=CASES)
    printed = capsys.readouterr().out
    assert "not installed" not in printed
    assert printed.count("transformers (PyTorch)") == 2
    assert printed.count("CTranslate2") == 1
