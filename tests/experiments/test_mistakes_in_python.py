"""Mistakes with the Python interface, each an error of four parts: what, got, expected, and what to do."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import optax
import pytest

from experiments import api
from tests.fixtures.compared_runs import write
from tests.fixtures.stored_run import make_run, pairs
from transformer import Beam, Sampling, UserError, any_of, attend, build, generate, matching, register
from transformer.decoding import Allowed, MinLength
from transformer.interop import save_pretrained

SETTINGS = {"architecture": "decoder_only", "vocab_size": 11, "width": 8, "num_heads": 2, "num_layers": 1}
MODEL = build(SETTINGS)
PARAMS = MODEL.init(0)
LEARNED = build({**SETTINGS, "position": "learned", "max_length": 6})
CLASSIFIER = build({**SETTINGS, "class_head": {"classes": 3}})
X = np.ones((2, 5), int)
BATCH = {"target": X, "labels": X}
QUERY = np.zeros((2, 5, 3, 4), np.float32)
WEIGHTS = "decoder.*.self.weights"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run, one without checkpoints, an empty folder, and two runs of different objectives."""
    folder = tmp_path_factory.mktemp("mistakes")
    make_run(folder / "run", pairs(folder / "pairs.tsv"))
    shutil.copytree(folder / "run", folder / "bare", ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "empty").mkdir()
    write(str(folder / "masked"), scores={"masked_loss": 1.0})
    for name in ("causal", "another"):
        write(str(folder / name), scores={"causal_loss": 1.0})
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return api.open_run(folder / "run")


@pytest.fixture
def unchecked():
    """Annotations are not checked, as in a user's process."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def apply(batch=None, **options):
    """Apply the model to a batch that is changed."""
    return MODEL.apply(PARAMS, {"target": X} if batch is None else batch, **options)


def fit(batches=BATCH, **options):
    """Fit the model for two steps, with an argument changed."""
    return api.fit(MODEL, batches, **{"steps": 2, "batch_size": 2, "progress": False, **options})


@functools.cache
def parameters(model):
    return model.init(0)


def written(model=MODEL, length=5, steps=2, **options):
    """Write an answer to each of two prompts of a length."""
    prompt = {"target": np.ones((2, length), int), "target_lengths": np.array([length, length - 2])}
    return generate(model, parameters(model), prompt, steps=steps, **{"end": None, **options})


def begin(model=MODEL, tokens=X, lengths=(5, 3), steps=2):
    """Read two prompts."""
    return model.start(parameters(model), {"target": tokens, "target_lengths": np.array(lengths)}, steps=steps)


def replaced(by):
    return apply(replace={WEIGHTS: by})


MISTAKES = {
    # call, what, got, expected, what to do
    "build: text for a number": (
        lambda: build({**SETTINGS, "width": "64"}),
        ("model.width has the wrong type", "'64' (str)", "int (a whole number)", "Write 64."),
    ),
    "build: a float for a whole number": (
        lambda: build({**SETTINGS, "width": 64.0}),
        ("model.width has the wrong type", "64.0 (float)", "int (a whole number)", "Write 64."),
    ),
    "build: a width that the heads do not divide": (
        lambda: build({**SETTINGS, "width": 10, "num_heads": 3}),
        ("model.width is not divisible", "width 10, num_heads 3", "width = num_heads x head_width", "Try width 12"),
    ),
    "build: settings that contradict each other": (
        lambda: build({**SETTINGS, "rotary_scale": 2.0}),
        ("model.rotary_scale is not read", "2.0", "only with model.position=rotary", "Leave it out"),
    ),
    "build: another name of an architecture": (
        lambda: build({**SETTINGS, "architecture": "decoder"}),
        ("unknown value of model.architecture", "'decoder'", "one of decoder_only", "Did you mean 'decoder_only'?"),
    ),
    "apply: tokens that are floats": (
        lambda: apply({"target": X * 1.0}),
        ("batch['target'] does not hold whole numbers", "float64", "an array of integers", "array.astype(int)"),
    ),
    "apply: ids beyond the vocabulary": (
        lambda: apply({"target": X * 11}),
        ("batch['target']: an id outside of its table", "11 at example 0", "0 to 10", "Padding may hold any id"),
    ),
    "apply: a key of a batch with a slip": (
        lambda: apply({"target": X, "target_length": [2, 3]}),
        ("unknown entries of a batch", "target, target_length", "target_lengths", "Did you mean 'target_lengths'"),
    ),
    "apply: a key of another library": (
        lambda: apply({"target": X, "attention_mask": X > 0}),
        ("'attention_mask'", "target, attention_mask", "target_lengths", "Did you mean 'target_lengths'"),
    ),
    "apply: a mask in place of lengths": (
        lambda: apply({"target": X, "target_lengths": X > 0}),
        ("batch['target_lengths'] does not hold", "bool of shape (2, 5)", "integers", "Lengths are the sum of a mask"),
    ),
    "apply: tokens alone": (
        lambda: apply(X),
        ("a batch is a dict of arrays", "ndarray of shape (2, 5)", "entries among target", "Pass {'target': ...}."),
    ),
    "apply: the batch before the parameters": (
        lambda: MODEL.apply({"target": X}, PARAMS),
        ("a batch is a dict of arrays", "like parameters", "entries among", "The parameters come first"),
    ),
    "apply: parameters of another model": (
        lambda: MODEL.apply(build({**SETTINGS, "width": 12}).init(0), {"target": X}),
        ("the parameter decoder.", "12)", "shape (", "Pass the result of model.init, of a model with the same"),
    ),
    "apply: parameters that lack one": (
        lambda: MODEL.apply({**PARAMS, "embedding": {}}, {"target": X}),
        ("the parameter embedding.table is not", "none", "shape (11, 8)", "Pass the result of model.init"),
    ),
    "apply: parameters in a dict": (
        lambda: MODEL.apply({"params": PARAMS}, {"target": X}),
        ("not the parameters of this model", "['params']", "a dict of decoder, embedding", "Pass the result of"),
    ),
    "apply: the model as a function": (
        lambda: MODEL({"target": X}),
        ("a model holds no parameters", "a call of the model", "apply", "Write model.apply(params, batch)."),
    ),
    "apply: dropout without a key": (
        lambda: apply(dropout=0.1),
        ("dropout needs a random key", "no key", "a key or a seed", "Pass key=jax.random.key(...)."),
    ),
    "capture: a name that matches nothing": (
        lambda: apply(capture=("decoder.*.cross.weights",)),
        ("no cross-attention", "cross.weights", "one of decoder.*.self.query", "model.sites(batch) lists the names."),
    ),
    "capture: a layer that is not there": (
        lambda: apply(capture=("decoder.5.self.weights",)),
        ("no such layer in the decoder", "5", "0 to 0, or *", "model.sites(batch) lists the names."),
    ),
    "capture: a head that is not there": (
        lambda: apply(capture=("decoder.0.self.weights.7",)),
        ("no such head of self.weights", "7", "0 to 1, or *", "model.sites(batch) lists the names."),
    ),
    "capture: a stack that is not there": (
        lambda: apply(capture=("encoder.*.self.weights",)),
        ("this model has no encoder", "'encoder.*.self.weights'", "begins with decoder", "model.sites(batch)"),
    ),
    "capture: one text": (
        lambda: apply(capture=WEIGHTS),
        ("capture takes a tuple of names", f"'{WEIGHTS}'", "a tuple", f"Write capture=('{WEIGHTS}',)."),
    ),
    "replace: an activation of another shape": (
        lambda: replaced(lambda weights: weights[:1]),
        (f"the replacement of '{WEIGHTS}' has", "(1, 2, 5, 5)", "B N T S = (2, 2, 5, 5)", "Return an array of the sha"),
    ),
    "replace: nothing returned": (
        lambda: replaced(lambda weights: None),
        (f"the replacement of '{WEIGHTS}' is no array", "None", "an array of shape (2, 2, 5, 5)", "Return the array"),
    ),
    "attend: heads and length swapped": (
        lambda: attend(QUERY.swapaxes(1, 2), QUERY[:, :, :2], QUERY[:, :, :2]),
        ("query heads must share", "N=5, K=2", "N = K x G", "The axes are B T N H and B S K H: length, then heads."),
    ),
    "attend: a mask of numbers": (
        lambda: attend(QUERY, QUERY, QUERY, mask=np.zeros((5, 5))),
        ("a mask is an array of booleans", "float64 of shape (5, 5)", "booleans of axes", "added to the scores"),
    ),
    "attend: a mask of another shape": (
        lambda: attend(QUERY, QUERY, QUERY, mask=np.ones((4, 5), bool)),
        ("the mask does not fit", "bool of shape (1, 1, 4, 5)", "B N T S = (2, 3, 5, 5)", "Two axes are T S"),
    ),
    "attend: a mask by its name": (
        lambda: attend(QUERY, QUERY, QUERY, mask="causal"),
        ("a mask is an array of booleans", "'causal'", "booleans of axes", "Write masks.causal()."),
    ),
    "attend: a score with a slip": (
        lambda: attend(QUERY, QUERY, QUERY, score="scaled-dot"),
        ("unknown score", "'scaled-dot'", "scaled_dot", "Did you mean 'scaled_dot'?"),
    ),
    "generate: sampling without a key": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=2, end=None, strategy=Sampling()),
        ("sampling needs a random key", "no key", "a key or a seed", "Pass key=jax.random.key(...)."),
    ),
    "generate: no tokens": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=0, end=None),
        ("nothing to decode", "0 steps", "1 or more", "Pass steps, the most tokens to decode."),
    ),
    "generate: an end outside of the vocabulary": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=2, end=99),
        ("an end outside of the vocabulary", "99", "0 to 10", "Pass end=None, or such a token."),
    ),
    "generate: a strategy by its name": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=2, end=None, strategy="greedy"),
        ("not a strategy", "'greedy'", "Greedy(), Sampling(...)", "Pass Greedy() or Sampling(...)."),
    ),
    "generate: a beam by its name": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=2, end=None, strategy="beam"),
        ("not a strategy", "'beam'", "Greedy(), Sampling(...), Beam(...)", "Pass Beam(4), of a width of 4."),
    ),
    "generate: a prompt without its lengths": (
        lambda: generate(MODEL, PARAMS, {"target": X}, steps=2, end=None),
        ("the batch has no target_lengths", "['target']", "target_lengths", "Pass {..., 'target_lengths': ...}."),
    ),
    "generate: a classifier": (
        lambda: generate(CLASSIFIER, CLASSIFIER.init(0), {"target": X}, steps=2, end=None),
        ("a classifier writes no tokens", "classes 3", "a model without classes", "Read class_logits of apply."),
    ),
    "generate: a prompt longer than the table of positions": (
        lambda: written(LEARNED, length=7, steps=1),
        ("the prompt is longer than the table", "7 tokens", "at most model.max_length = 6", "Set model.max_length"),
    ),
    "generate: more tokens than the table of positions leaves": (
        lambda: written(LEARNED, steps=3),
        (
            "the prompt with the tokens to decode",
            "5 tokens (with padding) and 3 steps",
            "at most 2 steps",
            "fewer steps",
        ),
    ),
    "start: a prompt longer than the table of positions": (
        lambda: begin(LEARNED, np.ones((2, 7), int)),
        ("the prompt is longer than the table", "7 tokens", "at most model.max_length = 6", "Set model.max_length"),
    ),
    "start: more tokens than the table of positions leaves": (
        lambda: begin(LEARNED, steps=3),
        (
            "the prompt with the tokens to decode",
            "5 tokens (with padding) and 3 steps",
            "at most 2 steps",
            "fewer steps",
        ),
    ),
    "generate: an empty prompt": (
        lambda: written(length=2),
        ("a prompt without a token", "0 at example 1", "1 token or more", "Begin with a start token."),
    ),
    "start: an id outside of the vocabulary": (
        lambda: begin(tokens=X * 11),
        (
            "batch['target']: an id outside of its table",
            "11 at example 0, position 0",
            "0 to 10",
            "Padding may hold any",
        ),
    ),
    "step: a token outside of the vocabulary": (
        lambda: MODEL.step(PARAMS, np.array([3, 11]), begin()[1]),
        ("token_B: an id outside of its table", "11 at example 1", "0 to 10", ""),
    ),
    "generate: a beam wider than the vocabulary": (
        lambda: written(strategy=Beam(12)),
        ("a beam is wider than the vocabulary", "12", "at most 11 (model.vocab_size)", "Pass a smaller width."),
    ),
    "generate: a beam that captures": (
        lambda: written(strategy=Beam(2), capture=(WEIGHTS,)),
        ("a beam captures nothing", WEIGHTS, "another strategy", "Read the answers with apply(..., capture=...)."),
    ),
    "generate: a temperature of 0": (
        lambda: written(strategy=Sampling(temperature=0.0), key=0),
        ("temperature of sampling is out of range", "0.0", "a number above 0, at most 10^6", ""),
    ),
    "generate: a top_p above 1": (
        lambda: written(strategy=Sampling(top_p=1.5), key=0),
        ("top_p of sampling is out of range", "1.5", "a number above 0, at most 1", ""),
    ),
    "generate: seeds for keys": (
        lambda: written(strategy=Sampling(), key=np.array([1, 2])),
        ("several seeds are no keys", "int64 of shape (2,)", "one seed", "Pass jax.vmap(jax.random.key)(seeds)."),
    ),
    "generate: a minimum length before another end": (
        lambda: written(rules=(MinLength(2, 99),)),
        ("the end of MinLength is outside of the vocabulary", "99", "0 to 10 (model.vocab_size)", ""),
    ),
    "generate: a function of allowed tokens of another vocabulary": (
        lambda: written(rules=(Allowed(lambda tokens_BL, lengths_B: np.ones(7, bool)),)),
        ("what the function of Allowed returns does not fit", "bool of shape (7,)", "booleans B V = (2, 11)", ""),
    ),
    "generate: a constraint with too few steps": (
        lambda: written(end=1, rules=(any_of([[3, 4, 5]], 11, 1),)),
        ("a constraint needs longer answers than may be written", "2 tokens", "4 or more", "Give more steps."),
    ),
    "matching: a pattern that no token can make": (
        lambda: matching("xyz", [None, "a", "b"], 0),
        ("no tokens of the vocabulary make a text", "'xyz'", "the tokens that may be written", "Change the pattern"),
    ),
    "matching: a pattern that does not parse": (
        lambda: matching("a(", [None, "a", "b"], 0),
        ("the constraint 'a(' cannot be read: missing )", "", "a regular expression without look-around", ""),
    ),
    "matching: an open brace": (
        lambda: matching(r"\d{4", [None, "a", "b"], 0),
        ("cannot be read: a bracket or a brace may be open", "", "a regular expression without look-around", ""),
    ),
    "matching: no pattern": (
        lambda: matching(None, [None, "a", "b"], 0),
        ("a constraint is a regular expression", "None", "a text", "Pass a text, or leave the constraint out."),
    ),
    "matching: an end outside of the vocabulary": (
        lambda: matching("a", [None, "a", "b"], 3),
        ("the end of a constraint is outside of the vocabulary", "3", "0 to 2, or None", ""),
    ),
    "any_of: tokens that are floats": (
        lambda: any_of([[1.5]], 4, 1),
        ("answers[0] of a constraint are none of the vocabulary", "[1.5]", "whole numbers from 0 to 3", ""),
    ),
    "register: a name that is taken": (
        lambda: register("score", "dot", lambda query, key: query),
        ("score 'dot' is there already", "<lambda>", "a name beside dot, scaled_dot", "Choose another name."),
    ),
    "register: a name that is none": (
        lambda: register("score", "my-score", lambda query, key: query),
        ("the name of a score is no name", "'my-score'", "letters, digits and _", "Write 'my_score'."),
    ),
    "register: an unknown axis": (
        lambda: api.register("optimiser", "mine", lambda: None),
        ("unknown axis", "'optimiser'", "", "Did you mean 'optimizer'?"),
    ),
    "train: text for a number": (
        lambda: api.train("dates", {"training.steps": "1e3"}, workdir="x"),
        ("training.steps has the wrong type", "'1e3' (str)", "int (a whole number)", "Write 1000."),
    ),
    "train: an unknown optimizer": (
        lambda: api.train("dates", {"optimizer.name": "adam"}, workdir="x"),
        ("unknown value of optimizer.name", "'adam'", "adamw", "Did you mean 'adamw'?"),
    ),
    "train: a workdir that is a number": (
        lambda: api.train("dates", workdir=3),
        ("workdir is no path", "3 (int)", "the path of a folder", 'Write, for instance, workdir="runs/x".'),
    ),
    "sweep: nothing varied": (
        lambda: api.sweep("dates", {}, workdir="x"),
        ("nothing is varied", "an empty space", "one setting or more", 'Give {"SETTING": VALUES}'),
    ),
    "sweep: ranges without a number of trials": (
        lambda: api.sweep("dates", {"model.dropout": api.linear(0, 0.3)}, workdir="x"),
        ("trials must be given: the space has ranges", "none", "a number of combinations", "Add trials=20."),
    ),
    "sweep: one value twice": (
        lambda: api.sweep("dates", {"model.dropout": [0.1, 0.1]}, workdir="x"),
        ("the sweep of model.dropout has a value twice", "0.1, 0.1", "each value once", "Leave one of them out."),
    ),
    "sweep: an unknown option": (
        lambda: api.sweep("dates", {"model.dropout": [0.1]}, workdir="x", trails=3),
        ("unknown option of a sweep", "'trails'", "", "Did you mean 'trials'?"),
    ),
    "compare: numbers": (
        lambda: api.compare([1, 2]),
        (
            "run 1 is neither a run nor a path",
            "1 (int)",
            "a Run, a Sweep, or the path",
            'Write, for instance, "runs/a"',
        ),
    ),
    "compare: no runs": (
        lambda: api.compare([]),
        ("there are no runs to compare", "none", "two or more", "Write api.compare([run_a, run_b])"),
    ),
    "compare: a run by its path alone": (
        lambda: api.compare("runs/a"),
        ("runs is no list", "'runs/a'", "a list of runs", "Write [run_a, run_b]."),
    ),
    "fit: no optimizer": (
        lambda: fit(optimizer=None),
        ("not an optimizer", "None (NoneType)", "a name, a dict", 'Write, for instance, optimizer="adamw".'),
    ),
    "fit: an optimizer without its rate": (
        lambda: fit(optimizer=optax.adam),
        ("not an optimizer", "function adam", "an optax transformation", "Call it with its learning rate"),
    ),
    "fit: a loss for each token": (
        lambda: fit(loss=lambda params, batch, key: MODEL.apply(params, batch)["logits"]),
        ("is no scalar", "float32 of shape (2, 5, 11)", "a float without axes", "Return the mean over the batch"),
    ),
    "fit: a loss without a result": (
        lambda: fit(loss=lambda params, batch, key: None),
        ("is no scalar", "None", "a float without axes", "Return the mean over the batch"),
    ),
    "fit: a loss of other arguments": (
        lambda: fit(loss=lambda logits, labels: 0.0),
        ("takes other arguments", "(logits, labels)", "(params, batch, key)", "takes the key all the same"),
    ),
    "fit: a loss by its name": (
        lambda: fit(loss="cross_entropy"),
        ("loss is no function", "'cross_entropy'", "a function of (params, batch, key)", "Leave it out"),
    ),
    "fit: batches that end": (
        lambda: fit(iter([])),
        ("the batches end before the last step", "0 of them", "one for each step", "Give more or a list"),
    ),
    "fit: a label outside of the vocabulary": (
        lambda: fit({"target": X, "labels": X * 11}),
        ("a label outside of the logits", "11", "0 to 10", "have loss_weights of 0"),
    ),
    "fit: an id outside of the vocabulary": (
        lambda: fit({"target": X * 11, "labels": X}),
        (
            "batch['target']: an id outside of its table",
            "11 at example 0, position 0",
            "0 to 10",
            "Padding may hold any",
        ),
    ),
    "fit: the parameters before the batches": (
        lambda: api.fit(PARAMS, BATCH, steps=2),
        ("not a model", "got a dict; expected", "the result of transformer.build", "Write fit(model, batches, steps"),
    ),
    "fit: labels that are floats": (
        lambda: fit({"target": X, "labels": X * 0.5}),
        ("labels are no whole numbers", "float64 of shape (2, 5)", "an array of integers", "labels.astype(int)"),
    ),
    "fit: a seed below 0": (
        lambda: fit(seed=-1),
        ("seed is out of range", "-1", "0 to 2^32 - 1", "Write, for instance, seed=0."),
    ),
    "fit: parameters by their name": (
        lambda: fit(params="best"),
        ("params are no parameters", "'best'", "a dict of arrays", "Pass the result of model.init"),
    ),
    "fit: no held-out batches": (
        lambda: fit(validation=3),
        ("validation is no batches", "3", "a dict of arrays, or batches", "Leave it out"),
    ),
}
"""Mistakes without a run."""

OF_OTHER_TYPES = {
    "generate: one rule without a tuple": (
        lambda: written(rules=MinLength(2, 1)),
        ("rules takes a tuple of rules", "MinLength(length=2, end=1)", "a tuple", "Write rules=(MinLength(...),)."),
    ),
    "generate: a constraint as a text": (
        lambda: written(rules=r"\d+"),
        ("rules takes a tuple of rules", r"'\\d+'", "a tuple", "Write rules=(matching(pattern, texts, end),)."),
    ),
    "generate: a model by its name": (
        lambda: generate("gpt2", PARAMS, {"target": X}, steps=2, end=None),
        ("not a model", "'gpt2'", "the result of transformer.build", "Write generate(model, params, batch, ...)."),
    ),
    "save_pretrained: the parameters before the model": (
        lambda: save_pretrained(PARAMS, MODEL, "x"),
        (
            "not a model",
            "got a dict; expected",
            "the result of transformer.build",
            "Write save_pretrained(model, params",
        ),
    ),
    "build: no settings": (
        lambda: build([64]),
        ("not a config of a model", "[64]", "a ModelConfig, a dict", "Write, for instance, build("),
    ),
    "init: no key": (
        lambda: MODEL.init("0"),
        ("a random key or a seed is needed", "'0'", "one key, or a whole number", "Pass jax.random.key(0), or 0"),
    ),
    "init: a scale that is a word": (
        lambda: MODEL.init(0, "small"),
        ("scale is no number", "'small'", "a factor", "Pass 1.0, or leave it out."),
    ),
    "apply: a key that is a word": (
        lambda: apply(key="0"),
        ("a random key or a seed is needed", "'0'", "one key, or a whole number", "Pass jax.random.key(0), or 0"),
    ),
    "capture: a number": (
        lambda: apply(capture=3),
        ("capture takes a tuple of names", "3", "names of activations", "model.sites(batch) lists the names."),
    ),
    "replace: a word": (
        lambda: replaced("zero"),
        ("replace takes functions and arrays", "'zero'", "an array of its shape", "For zeros write jnp.zeros_like"),
    ),
    "replace: a list of names": (
        lambda: apply(replace=[WEIGHTS]),
        ("replace takes functions and arrays by name", "list", "a dict from names", "Write replace={"),
    ),
}
"""Mistakes that annotations, which the tests check, exclude."""

WITH_A_RUN = {
    "open_run: no folder": (
        lambda run: api.open_run(run.workdir.parent / "none"),
        ("none does not exist", "", "the working directory of a run", "Train first: api.train(RECIPE, workdir="),
    ),
    "open_run: a file": (
        lambda run: api.open_run(run.workdir / "config.json"),
        ("config.json is not a directory", "", "the working directory of a run", "Train first"),
    ),
    "open_run: no run": (
        lambda run: api.open_run(run.workdir.parent / "empty"),
        ("holds no config.json", "", "the working directory of a run", "Train first"),
    ),
    "open_run: a number": (
        lambda run: api.open_run(3),
        ("workdir is no path", "3 (int)", "the path of a folder", 'Write, for instance, workdir="runs/x".'),
    ),
    "open_run: a run that has not begun": (
        lambda run: api.open_run(run.workdir.parent / "bare"),
        ("no checkpoint best in", "there is none", "", "Train first: api.train(RECIPE, workdir="),
    ),
    "open_run: a step without a checkpoint": (
        lambda run: api.open_run(run.workdir, 77),
        ("no checkpoint 77 in", "", "there are 1, 2", "Choose one of them."),
    ),
    "open_run: an unknown checkpoint": (
        lambda run: api.open_run(run.workdir, "newest"),
        ("unknown checkpoint", "'newest'", "best, last or a step", "Leave it out for the best one."),
    ),
    "open_run: the mean of none": (
        lambda run: api.open_run(run.workdir, average_last=0),
        ("average_last is out of range", "0", "1 or more", "Leave it out for the run's setting."),
    ),
    "predict: a text": (
        lambda run: run.predict("May 2"),
        ("texts is one text", "'May 2'", "a list of texts", "Write [text]."),
    ),
    "predict: a number": (
        lambda run: run.predict(3),
        ("texts is no list", "3 (int)", "a list of texts", "Write [text]."),
    ),
    "predict: numbers": (
        lambda run: run.predict([3]),
        ("text 1 is no text", "3 (int)", "str", "Write '3'."),
    ),
    "predict: texts in a list of lists": (
        lambda run: run.predict([["red cat"]]),
        ("text 1 is no text", "['red cat'] (list)", "str", "Give texts alone."),
    ),
    "predict: a text that is far too long": (
        lambda run: run.predict(["a" * 9999]),
        ("far longer than anything in training", "tokens with its answer", "at most 160, 16 times", "Shorten it"),
    ),
    "draw_attention: a list": (
        lambda run: run.draw_attention(["red cat"]),
        ("text is not one text", "['red cat'] (list)", "one text", 'Write, for instance, draw_attention("a text").'),
    ),
    "predict: an unknown setting": (
        lambda run: run.predict(["a"], max_tokens=3),
        ("unknown setting of decoding", "'max_tokens'", "max_new_tokens", "Did you mean 'max_new_tokens'?"),
    ),
    "predict: a number in quotes": (
        lambda run: run.predict(["a"], max_new_tokens="3"),
        ("max_new_tokens has the wrong type", "'3' (str)", "int (a whole number)", "Write 3."),
    ),
    "predict: a seed in quotes": (
        lambda run: run.predict(["a"], seed="7"),
        ("seed has the wrong type", "'7' (str)", "int (a whole number)", "Write 7."),
    ),
    "evaluate: a split with a slip": (
        lambda run: run.evaluate(split="tests"),
        ("unknown split", "'tests'", "one of test, train, validation", "Did you mean 'test'?"),
    ),
    "evaluate: an empty split": (
        lambda run: run.evaluate("test"),
        ("the test split is empty", "no example", "one of train, validation", "Choose another split."),
    ),
    "evaluate: no examples": (
        lambda run: run.evaluate(examples=0),
        ("examples is out of range", "0", "1 or more, or None for all", "Leave it out for all."),
    ),
    "capture: a name that the model does not have": (
        lambda run: run.capture(["a"], ["decoder.*.cross.weights"]),
        ("no cross-attention", "cross.weights", "one of decoder.*.self.query", "model.sites(batch) lists the names."),
    ),
    "capture: no names": (
        lambda run: run.capture(["a"], []),
        ("no activation is named", "[]", "a list of names", 'Write, for instance, ["decoder.*.self.weights"].'),
    ),
    "capture: one name": (
        lambda run: run.capture(["a"], WEIGHTS),
        ("names is one text", f"'{WEIGHTS}'", "a list of names", f"Write ['{WEIGHTS}']."),
    ),
    "draw_attention: a layer in words": (
        lambda run: run.draw_attention("a", layer="last"),
        ("no such layer", "'last'", "0 to 0, or negative", "-1 is the last"),
    ),
    "compare: runs of other tasks": (
        lambda run: api.compare([run.workdir.parent / "masked", run.workdir.parent / "causal"]),
        ("the runs share no metric", "causal_loss", "runs of one objective", "Leave out those of another."),
    ),
    "compare: one run": (
        lambda run: api.compare([run]),
        ("one run alone has nothing to be compared with", "run", "two runs or more", "Name another run beside it."),
    ),
    "compare: a run twice": (
        lambda run: api.compare([run, run.workdir]),
        ("run is given twice", "", "", "Give each run once."),
    ),
    "compare: a margin in quotes": (
        lambda run: api.compare([run.workdir.parent / "another"], against=[run.workdir.parent / "causal"]).decide(
            margin="0.02"
        ),
        ("margin is no number", "'0.02' (str)", "a difference of the metric", "Write, for instance, margin=0.02."),
    ),
    "train: a workdir of another run": (
        lambda run: api.train(run.config, {"optimizer.learning_rate": 0.5}, workdir=run.workdir),
        ("made with another config", "optimizer.learning_rate: 0.001", "-> 0.5", "Choose another workdir, or set"),
    ),
}
"""Mistakes with a run."""


def check(error: UserError, parts: tuple[str, str, str, str]) -> None:
    """Check that a message has these parts in this order, in the words of Python."""
    message, at = str(error), 0
    for part in parts:
        assert part in message[at:], message
        at = message.index(part, at) + len(part)
    assert "--" not in message
    assert len(message) < 700 or "\n" in message


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_an_error_of_four_parts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, parts = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        call()
    check(caught.value, parts)
    assert not list(tmp_path.iterdir())


def check_other_types() -> None:
    """Check the mistakes that annotations exclude, in a process in which they are not checked."""
    for call, parts in OF_OTHER_TYPES.values():
        with pytest.raises(UserError) as caught:
            call()
        check(caught.value, parts)


@pytest.mark.more
def test_a_mistake_of_another_type_is_an_error_of_four_parts(tmp_path):
    code = "from tests.experiments.test_mistakes_in_python import check_other_types as check; check()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WITH_A_RUN)
def test_a_mistake_with_a_run_is_an_error_of_four_parts(name, run):
    call, parts = WITH_A_RUN[name]
    with pytest.raises(UserError) as caught:
        call(run)
    check(caught.value, parts)


@pytest.mark.parametrize(
    ("call", "what", "do"),
    [
        (lambda: build({**SETTINGS, "widht": 8}), "unknown setting of model; got 'widht'", "Did you mean 'width'?"),
        (lambda: apply(capture=("decoder.*.self.wights",)), "got 'self.wights'", "Did you mean 'self.weights'?"),
        (lambda: api.train("datse", workdir="x"), "recipe datse does not exist", "Did you mean dates?"),
        (lambda: api.train("dates", {"widht": 8}, workdir="x"), "unknown setting widht", "Did you mean model.width?"),
        (lambda: api.sweep("dates", {"model.widht": [8]}, workdir="x"), "model.widht", "Did you mean model.width?"),
        (lambda: api.describe("modle"), "unknown section 'modle'", 'Did you mean api.describe("model")?'),
    ],
)
def test_a_name_with_a_slip_is_an_error_with_the_nearest(call, what, do, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        call()
    check(caught.value, ("", what, "", do))


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (
            lambda: build({**SETTINGS, "dropout": 10}),
            "model.dropout is out of range; got 10.0; expected a number from 0",
        ),
        (lambda: apply({"target": X[0]}), "batch['target'] has 1 axis; got shape (5,); expected axes B T"),
        (
            lambda: apply({"target": X, "target_lengths": X[:1, 0]}),
            "batch['target_lengths'] has another batch axis (B); got 1 in shape (1,); expected 2",
        ),
        (
            lambda: attend(QUERY, QUERY, QUERY[:, :4]),
            "value has another key position axis (S); got 4 in shape (2, 4, 3, 4); expected 5",
        ),
        (
            lambda: register("position", "mine", 3),
            "position 'mine' 3 is an int; expected a transformer.nn.positions.Position",
        ),
        (
            lambda: api.train("dates", {"training.steps": 0}, workdir="x"),
            "training.steps is out of range; got 0; expected a number from 1 to 2^31 - 1",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_value_that_is_not_allowed_is_an_error_whose_range_is_what_to_give(call, what):
    with pytest.raises(UserError) as caught:
        call()
    check(caught.value, (what, "", "", ""))


def test_an_id_outside_of_the_vocabulary_may_stand_where_no_label_counts():
    ids, counted = X * 1, np.ones(X.shape, np.float32)
    ids[:, 3:], counted[:, 3:] = -100, 0.0
    assert fit({"target": ids, "labels": X, "loss_weights": counted}).step == 2


def test_no_texts_have_no_answers(run):
    assert run.predict([]) == []


def test_lengths_beyond_the_row_are_those_of_the_row():
    """The rule that `transformer.models.batch.ENTRIES` states."""
    found, full = (apply({"target": X, "target_lengths": np.array(n)})["logits"] for n in ([9, 5], [5, 5]))
    np.testing.assert_array_equal(found, full)
