"""Checkpoints that cannot be loaded, and models that cannot be written: one error each, which names what and where."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import transformer
from tests.golden.files import load
from tests.interop.checkpoints import checkpoint, tensors_of, write
from transformer.errors import UserError
from transformer.interop import load_pretrained, save_pretrained

RECORD = load("interop_gpt2")
TENSORS = tensors_of(RECORD)
KERNEL, TABLE = "transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"
INDEX = "model.safetensors.index.json"

ENTRIES = {
    "another family": ({"model_type": "gpt3"}, "unknown family .*'gpt3'.*Did you mean 'gpt2'"),
    "no family": ({"model_type": None}, "lacks model_type"),
    "that of a run": ({"model_type": None, "config": {}}, "that of a run .*opened by experiments.api.open_run"),
    "another architecture": ({"architectures": ["GPT2ForQuestionAnswering"]}, "architecture of gpt2 .*GPT2LMHeadModel"),
    "no list of architectures": ({"architectures": "GPT2LMHeadModel"}, "architecture of gpt2 is not read"),
    "an unknown entry": ({"my_feature": True}, r"does not express: my_feature; got my_feature True.*ignore=\('my_f"),
    "a value that is not expressed": ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_.*got True; .*False"),
    "an unknown activation": ({"activation_function": "mish"}, "activation_function .*got 'mish'; expected relu or"),
    "an activation that is a list": ({"activation_function": ["relu"]}, "activation_function .*got \\['relu'\\]"),
    "text for a number": ({"n_head": "3"}, "n_head has another type; got '3'; expected int"),
    "null for a number": ({"n_embd": None}, "n_embd has another type; got None"),
    "no heads": ({"n_head": 0}, "num_heads is out of range; got 0"),
    "heads that do not divide": ({"n_head": 5}, "width is not divisible .*num_heads 5"),
    "one layer more": ({"n_layer": 3}, "12 tensors do not fit.*h.2.attn.c_attn.weight: missing, expected .12, 36."),
    "one layer less": ({"n_layer": 1}, "12 tensors do not fit.*h.1.attn.c_attn.weight: unused, of shape .12, 36."),
    "another width": ({"n_embd": 15}, "c_attn.bias: .36,., expected .45,.(.|\n)*and 14 more"),
    "one token more": ({"vocab_size": 24}, f"1 tensor does not fit:\n.*{TABLE}: .23, 12., expected .24, 12."),
}
"""Fault of config.json -> its entries, and the error."""


@pytest.mark.parametrize("what", ENTRIES)
def test_a_config_that_does_not_fit_is_refused_by_name(what, tmp_path):
    entries, error = ENTRIES[what]
    with pytest.raises(UserError, match=f"(?s){error}"):
        load_pretrained(write(RECORD, tmp_path, **entries))


def test_an_unknown_entry_can_be_ignored(tmp_path):
    load_pretrained(write(RECORD, tmp_path, my_feature=True), ignore=("my_feature",))


CHANGED = {
    "missing": ({KERNEL: None}, f"1 tensor does not fit:\n  {KERNEL}: missing, expected .12, 20."),
    "unused": ({"transformer.extra": np.ones(3, np.float32)}, "transformer.extra: unused, of shape .3,."),
    "another shape": ({KERNEL: np.ones((3, 4), np.float32)}, f"{KERNEL}: .3, 4., expected .12, 20."),
    "turned": ({KERNEL: TENSORS[KERNEL].T.copy()}, f"{KERNEL}: .20, 12., expected .12, 20."),
    "a copy that differs": ({"lm_head.weight": TENSORS[TABLE] + 1}, f"lm_head.weight: not equal to {TABLE}"),
    "quantized": ({KERNEL: TENSORS[KERNEL].astype(np.int8)}, f"{KERNEL} is not of floats.*got int8"),
}
"""Fault of the tensors -> those that are others (None: left out), and the error."""


@pytest.mark.parametrize("what", CHANGED)
def test_every_tensor_is_accounted_for(what, tmp_path):
    others, error = CHANGED[what]
    tensors = {name: x for name, x in (TENSORS | others).items() if x is not None}
    with pytest.raises(UserError, match=f"(?s){error}"):
        load_pretrained(write(RECORD, tmp_path, tensors))


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_weights_of_other_types_are_read_as_float32(kind, tmp_path):
    import ml_dtypes

    dtype = ml_dtypes.bfloat16 if kind == "bfloat16" else np.dtype(kind)
    tensors = {name: x.astype(dtype) for name, x in TENSORS.items()}
    params = load_pretrained(write(RECORD, tmp_path, tensors)).params
    table = np.asarray(params["embedding"]["table"])
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, TENSORS[TABLE].astype(dtype).astype(np.float32))


def sharded(directory, **weights):
    """Write a checkpoint as two files with an index, perhaps with other entries of it."""
    write(RECORD, directory)
    (directory / "model.safetensors").unlink()
    names = sorted(TENSORS)
    for file, own in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: TENSORS[name] for name in own}, directory / file)
    files = {name: f"{'ab'[i % 2]}.safetensors" for i, name in enumerate(names)}
    (directory / INDEX).write_text(json.dumps({"weight_map": files | weights}))
    return directory


def test_a_sharded_checkpoint_is_read_as_one_file(tmp_path):
    whole = load_pretrained(write(RECORD, tmp_path / "whole")).params
    parts = load_pretrained(sharded(tmp_path / "parts")).params
    np.testing.assert_array_equal(whole["embedding"]["table"], parts["embedding"]["table"])


OUTSIDE = {
    "the folder above": ("../whole/model.safetensors", "outside of its directory"),
    "an absolute path": ("/etc/hostname", "outside of its directory"),
    "a file that is not there": ("c.safetensors", "does not exist; got c.safetensors"),
    "the other file": ("b.safetensors", f"b.safetensors lacks tensors that {INDEX} names; got {sorted(TENSORS)[0]}"),
}


@pytest.mark.parametrize("what", OUTSIDE)
def test_an_index_names_files_of_its_directory(what, tmp_path):
    write(RECORD, tmp_path / "whole")
    file, error = OUTSIDE[what]
    with pytest.raises(UserError, match=error):
        load_pretrained(sharded(tmp_path / "parts", **{sorted(TENSORS)[0]: file}))


def broken(directory, file, content):
    write(RECORD, directory)
    (directory / file).write_bytes(content)
    return directory


FILES = {
    "half a config": ("config.json", b'{"model_type": "gpt2",', "config.json is not JSON.*line 1 column"),
    "a list as config": ("config.json", b"[1]", "config.json is no object"),
    "bytes as config": ("config.json", b"\xff\xfe\x00", "config.json is not JSON"),
    "no bytes": ("model.safetensors", b"", "model.safetensors is no safetensors file.*got 0 bytes"),
    "five bytes": ("model.safetensors", b"\x09\x00\x00\x00\x00", "model.safetensors is no safetensors file"),
    "half a tokenizer": ("tokenizer.json", b"{}", "tokenizer.json cannot be read as a tokenizer"),
    "half a generation config": ("generation_config.json", b"{", "generation_config.json is not JSON"),
    "half an index": (INDEX, b"{", f"{INDEX} is not JSON"),
    "an index without files": (INDEX, b"{}", f"{INDEX} has no weight_map"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_damaged_file_is_named(what, tmp_path):
    file, content, error = FILES[what]
    with pytest.raises(UserError, match=f"(?s){error}"):
        load_pretrained(broken(tmp_path, file, content))


def test_a_truncated_file_is_named(tmp_path):
    directory = write(RECORD, tmp_path)
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(UserError, match=f"model.safetensors is no safetensors file.*{len(whole) - 100:,} bytes"):
        load_pretrained(directory)


def test_weights_that_are_only_pickled_are_not_read(tmp_path):
    directory = write(RECORD, tmp_path)
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights; got config.json"):
        load_pretrained(directory)
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match=r"got pytorch_model.bin.*can run code, so they are not read. Convert them"):
        load_pretrained(directory)


def test_what_is_no_directory_is_told_how_to_get_one(tmp_path):
    with pytest.raises(UserError, match=r"no directory 'gpt2'.*hf download gpt2 --local-dir gpt2"):
        load_pretrained("gpt2")
    with pytest.raises(UserError, match=r"an empty folder; expected config.json in it"):
        load_pretrained(tmp_path)
    with pytest.raises(UserError, match="is no directory; got a file"):
        load_pretrained(write(RECORD, tmp_path) / "config.json")


def test_a_tokenizer_beyond_the_vocabulary_is_refused(tmp_path):
    import tokenizers

    words = tokenizers.models.WordLevel({"a": 0, "b": 23}, unk_token="a")
    tokenizers.Tokenizer(words).save(str(write(RECORD, tmp_path) / "tokenizer.json"))
    with pytest.raises(UserError, match="ids beyond the model's vocabulary; got id 23; expected below 23"):
        load_pretrained(tmp_path)


OTHERS = {
    "another score": (
        {"architecture": "decoder_only", "position": "learned", "max_length": 9, "score": "additive"},
        "no family of Hugging Face has this model; got model.score 'additive'; expected score 'scaled_dot' .of gpt2",
    ),
    "recurrent": ({"architecture": "rnn_seq2seq"}, "got model.architecture 'rnn_seq2seq'"),
    "norms before": ({"architecture": "seq2seq", "activation": "relu"}, "got model.norm_placement 'pre'.*of marian"),
    "a mixer": (
        {"architecture": "decoder_only", "position": "learned", "max_length": 9, "mixer": "linear"},
        "got .*model.mixer 'linear'",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_model_that_no_family_has_is_refused_by_its_settings(what, tmp_path):
    settings, error = OTHERS[what]
    model = transformer.build({"vocab_size": 11, "width": 8, "num_heads": 2, "num_layers": 1, **settings})
    with pytest.raises(UserError, match=error):
        save_pretrained(model, {}, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_or_in_part(tmp_path, monkeypatch):
    model, params, *_ = load_pretrained(checkpoint("gpt2", tmp_path / "theirs"))
    for error, arguments in {
        "is there already": (model, params, tmp_path / "theirs"),
        "not the parameters": (model, {}, tmp_path / "new"),
    }.items():
        with pytest.raises(UserError, match=error):
            save_pretrained(*arguments)
    with pytest.raises(UserError, match=r"family llama does not have this model; got model.position 'learned'"):
        save_pretrained(model, params, tmp_path / "new", family="llama")

    def fails(*arguments, **named):
        raise OSError("no space left")

    for step in ("transformer.interop.pretrained.json.dumps", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(step, fails)
            with pytest.raises(OSError, match="no space"):
                save_pretrained(model, params, tmp_path / "new")
        assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
