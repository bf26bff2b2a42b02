"""generation_config.json as a strategy, rules and tokens."""

import json

import pytest

from tests.interop.checkpoints import checkpoint
from transformer.decoding import Banned, Beam, Forced, Greedy, MinLength, NoRepeatNgram, RepetitionPenalty, Sampling
from transformer.errors import UserError
from transformer.interop import load_pretrained, save_pretrained
from transformer.interop.generation import Generation

STRATEGIES = {
    "nothing": ({}, Greedy()),
    "one beam": ({"num_beams": 1, "length_penalty": 2.0}, Greedy()),
    "beams": (
        {"num_beams": 6, "length_penalty": 0.5, "early_stopping": True, "num_return_sequences": 2},
        Beam(6, 0.5, early_stopping=True, num_return=2),
    ),
    "sampling": ({"do_sample": True}, Sampling(top_k=50)),
    "all of sampling": (
        {"do_sample": True, "temperature": 0.7, "top_k": 0, "top_p": 0.9, "min_p": 0.1},
        Sampling(0.7, None, 0.9, 0.1),
    ),
}

RULES = {
    "repetition_penalty": (1.2, RepetitionPenalty(1.2)),
    "no_repeat_ngram_size": (3, NoRepeatNgram(3)),
    "bad_words_ids": ([[7], [2]], Banned((7,))),
    "min_length": (4, MinLength(3, (2,))),
    "min_new_tokens": (4, MinLength(4, (2,))),
    "forced_bos_token_id": (9, Forced(9)),
    "forced_eos_token_id": (2, Forced(2, last=True)),
    "suppress_tokens": ([3, 4], Banned((3, 4))),
    "begin_suppress_tokens": ([3], Banned((3,), first_only=True)),
}
"""Entry -> its value, and the rule; the end token is 2, which a list of banned words does not ban."""


@pytest.mark.parametrize("what", STRATEGIES)
def test_entries_are_a_strategy(what):
    entries, strategy = STRATEGIES[what]
    assert Generation(entries, True).strategy == strategy


@pytest.mark.parametrize("name", RULES)
def test_an_entry_is_a_rule(name):
    value, rule = RULES[name]
    assert Generation({"eos_token_id": 2, name: value}, True).rules == (rule,)
    assert Generation({"eos_token_id": 2, name: None}, True).rules == ()


def test_ids_of_start_end_and_padding():
    assert Generation({"bos_token_id": 1, "decoder_start_token_id": 0}, True).start == 0
    assert Generation({"bos_token_id": 1}, False).start == 1
    several = Generation({"eos_token_id": [5, 6]}, False).arguments
    assert several["end"] == (5, 6)
    assert several["padding"] == 5
    assert Generation({"eos_token_id": 5, "pad_token_id": 0}, False).arguments["padding"] == 0
    assert Generation({}, False).arguments["end"] is None


REFUSED = {
    "draws of a beam": {"num_beams": 2, "do_sample": True},
    "guidance": {"guidance_scale": 2.0},
    "groups of beams": {"num_beam_groups": 2},
    "words of two tokens": {"bad_words_ids": [[1, 2]]},
    "a length with its prompt": {"min_length": 3},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_no_rule_expresses_is_refused_when_it_is_asked_for(what, tmp_path):
    directory = checkpoint("gpt2", tmp_path)
    (directory / "generation_config.json").write_text(json.dumps(REFUSED[what]))
    loaded = load_pretrained(directory)
    with pytest.raises(UserError, match=f"generation_config.json: {next(reversed(REFUSED[what]))} is not expressed"):
        _ = loaded.generation.arguments


def test_entries_of_an_earlier_config_count_where_there_is_no_file(tmp_path):
    directory = checkpoint("marian", tmp_path, num_beams=4, bad_words_ids=[[22]])
    (directory / "generation_config.json").unlink(missing_ok=True)
    generation = load_pretrained(directory).generation
    assert generation.strategy == Beam(4)
    assert generation.rules == (Banned((22,)), Forced(5, last=True))
    assert generation.start == 22
    assert "d_model" not in generation.entries


def test_the_defaults_of_generation_are_written_as_they_were_read(tmp_path):
    loaded = load_pretrained(checkpoint("marian", tmp_path / "theirs"))
    save_pretrained(loaded.model, loaded.params, tmp_path / "ours", config=loaded.config, generation=loaded.generation)
    assert load_pretrained(tmp_path / "ours").generation == loaded.generation
    assert len(loaded.generation.rules) == 1
