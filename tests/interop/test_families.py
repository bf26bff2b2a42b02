"""Every family's tiny checkpoint gives the numbers and the tokens of `transformers`, and is written as it was read."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.golden.files import load
from tests.golden.make_interop import BEAM, CASES, STEPS
from tests.interop import checkpoints
from transformer.decoding import Beam, Greedy, generate
from transformer.interop import FAMILIES, load_pretrained, save_pretrained

IN_THE_CORE = ("gpt2", "marian")
"""Cases whose generation is compared in the core: prompts of several tokens, and a forced end; the others in `more`."""

GENERATED = [
    pytest.param(name, marks=() if name in IN_THE_CORE else pytest.mark.more)
    for name in CASES
    if not name.startswith(("bert", "modernbert", "gpt2_bare"))
]


def inputs_of(record):
    return {name: record[name] for name in ("source", "source_lengths", "target") if name in record}


@pytest.mark.parametrize("name", CASES)
def test_a_checkpoint_gives_the_numbers_of_transformers_and_is_written_as_it_was_read(name, tmp_path):
    record = load(f"interop_{name}")
    model, params, _, config, _, unused = load_pretrained(checkpoints.write(record, tmp_path / "theirs"))
    out, expected = model.apply(params, inputs_of(record)), record["result"]
    found = np.asarray(out.get("logits", out.get("class_logits", out["hidden"])))
    if "target" not in record and found.ndim == 3:  # what stands at padding is not defined
        seen = np.arange(found.shape[1])[None] < record["source_lengths"][:, None]
        found, expected = found[seen], expected[seen]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()

    save_pretrained(model, params, tmp_path / "ours", config=config)
    theirs, ours = checkpoints.tensors_of(record), load_file(tmp_path / "ours" / "model.safetensors")
    assert set(theirs) == {*ours, *unused}
    for own, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[own], err_msg=own)
    again = load_pretrained(tmp_path / "ours")
    assert again.model.config == model.config


@pytest.mark.parametrize("name", GENERATED)
def test_greedy_tokens_and_beams_are_those_of_transformers(name, tmp_path):
    record = load(f"interop_{name}")
    loaded = load_pretrained(checkpoints.write(record, tmp_path))
    inputs = inputs_of(record)
    if "source" in inputs:
        start = loaded.generation.start
        prompt = inputs | {"target": np.full((3, 1), start), "target_lengths": np.ones(3, int)}
    else:
        prompt = {"target": inputs["target"][:, :3], "target_lengths": np.full(3, 3)}
    beam = Beam(BEAM["num_beams"], BEAM["length_penalty"])
    for what, strategy in (("greedy", Greedy()), ("beam", beam)):
        arguments = loaded.generation.arguments | {"strategy": strategy}
        out = generate(loaded.model, loaded.params, prompt, steps=STEPS, **arguments)
        written = np.arange(STEPS)[None] < np.asarray(out.lengths)[:, None]
        np.testing.assert_array_equal(np.where(written, out.tokens, -1), record[what])


def test_the_golden_files_have_every_family_and_several_tokens():
    records = {name: load(f"interop_{name}") for name in CASES}
    assert {checkpoints.text_of(record["config"])["model_type"] for record in records.values()} == set(FAMILIES)
    tokens = [record[what] for record in records.values() for what in ("greedy", "beam") if what in record]
    assert np.mean([len(np.unique(x[x >= 0])) for x in tokens]) > 3
    assert any((x == -1).any() for x in tokens), "no answer ends before the last step"
