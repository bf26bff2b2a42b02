"""Batches of one's own, as `fit` takes them: which one each step has, and what is checked.

    batches                             batch of step i, counted from 0
    a dict of arrays, I examples each   `batch_size` rows of an order that is a function of (seed, epoch)
    a function                          batches(i)
    a list                              batches[i modulo its length]
    an iterable                         its next item; it begins anew at its end, unless it is an iterator

So all but an iterator may be continued from a checkpoint to the same bits; an iterator is read up to the checkpoint's
step first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.training.update import Batch
from transformer import Model
from transformer.errors import problem, written
from transformer.models import entries, faults
from transformer.nn.module_rows import structure


def batches_from(batches: Any, first: int, batch_size: int, seed: int) -> Iterator[Batch]:
    """Yield the batches of steps `first`, `first` + 1, ..."""
    if isinstance(batches, Mapping):
        yield from _rows(batches, first, batch_size, seed)
    elif callable(batches):
        while True:
            yield batches(first)
            first += 1
    elif isinstance(batches, Sequence):
        if not batches:
            raise problem("there are no batches", got="[]", expected="one or more", do="Give a batch in the list.")
        while True:
            yield batches[first % len(batches)]
            first += 1
    elif isinstance(batches, Iterable):
        yield from _items(batches, first)
    else:
        expected = "a dict of arrays, a function of the step, a list or an iterable of batches"
        got, do = f"{written(batches)} ({type(batches).__name__})", 'Write {"target": x, "labels": y}, for instance.'
        raise problem("not batches", got=got, expected=expected, do=do)


def _rows(arrays: Mapping[str, Any], first: int, batch_size: int, seed: int) -> Iterator[Batch]:
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    sizes = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    count = min(sizes.values(), default=0)
    if len(set(sizes.values())) != 1:
        do = "Give each array the same number of rows."
        raise problem("the arrays have other numbers of examples", got=sizes, expected="one first axis", do=do)
    if count < batch_size:
        do = "Lower batch_size."
        raise problem("there are fewer examples than a batch has", got=count, expected=f"{batch_size} or more", do=do)
    for step in range(first, first + 2**62):
        epoch, part = divmod(step, count // batch_size)
        order = np.random.default_rng((seed, epoch)).permutation(count)
        rows = order[part * batch_size : (part + 1) * batch_size]
        yield {name: array[rows] for name, array in arrays.items()}


def _items(batches: Iterable[Batch], first: int) -> Iterator[Batch]:
    step = 0
    while True:
        before = step
        for batch in batches:
            if step >= first:
                yield batch
            step += 1
        if isinstance(batches, Iterator) or step == before:
            raise problem(
                "the batches end before the last step",
                got=f"{step} of them",
                expected="one for each step",
                do="Give more or a list, which begins anew at its end, or fewer steps.",
            )


def held_out_batches(batches: Any, batch_size: int) -> Iterator[Batch]:
    """Yield the batches of a held-out set, in order."""
    if not isinstance(batches, Mapping):
        if not isinstance(batches, Iterable):
            expected, do = "a dict of arrays, or batches", "Leave it out, or give held-out batches."
            raise problem("validation is no batches", got=written(batches), expected=expected, do=do)
        yield from batches
        return
    arrays = {name: np.asarray(array) for name, array in as_arrays(batches).items()}
    for start in range(0, len(next(iter(arrays.values()))), batch_size):
        yield {name: array[start : start + batch_size] for name, array in arrays.items()}


def as_arrays(batch: Any) -> Batch:
    """Return a batch for a loss of the caller's own; raise a UserError for what is no dict of arrays."""
    if not isinstance(batch, Mapping) or not batch:
        got, do = f"{written(batch)} ({type(batch).__name__})", 'Write {"target": x, "labels": y}, for instance.'
        raise problem("a batch is a dict of arrays", got=got, expected="arrays by the names of entries", do=do)
    return {name: np.asarray(array) for name, array in batch.items()}


def checked(model: Model, batch: Any) -> Batch:
    """Return a batch with its loss weights: 1 for each label within the length of its side, where none are given.

    Raises:
        UserError: no labels, or one that the model's logits do not have where its weight is not 0; a batch that the
            model does not read, or an id outside of its tables that labels of such a weight depend on.
    """
    batch = as_arrays(batch)
    if "labels" not in batch:
        do = "Add labels, or pass loss=."
        raise problem("a batch has no labels", got=f"entries {', '.join(batch)}", expected="labels", do=do)
    labels = batch["labels"]
    if not np.issubdtype(labels.dtype, np.integer):
        got, do = f"{labels.dtype} of shape {labels.shape}", "Pass ids, such as labels.astype(int)."
        raise problem("labels are no whole numbers", got=got, expected="an array of integers", do=do)
    if "loss_weights" not in batch:
        weights = np.ones(labels.shape, np.float32)
        lengths = batch.get("target_lengths", batch.get("source_lengths") if "target" not in batch else None)
        if lengths is not None and labels.ndim == 2:
            weights *= np.arange(labels.shape[1]) < np.asarray(lengths)[:, None]
        batch["loss_weights"] = weights
    classes = model.config.class_head.classes
    size = (model.config.vocab_size or 0) if classes is None else classes
    counted = labels[batch["loss_weights"] > 0] if labels.shape == batch["loss_weights"].shape else labels
    if counted.size and not 0 <= counted.min() <= counted.max() < size:
        got = counted[(counted < 0) | (counted >= size)].flat[0]
        do = "Labels that do not count have loss_weights of 0."
        raise problem("a label outside of the logits", got=got, expected=f"0 to {size - 1}", do=do)
    _check_entries(model, batch)
    return {**batch, "labels": labels.astype(np.int32)}


def _check_entries(model: Model, batch: Batch) -> None:
    """Raise the error of `Model.apply` for a batch, since under `jax.jit` ids outside of a table are NaN alone.

    Those that only labels of weight 0 depend on are left as they are.
    """
    row = structure(model.config.architecture)
    numbers = entries.read(batch, entries.entries_of(row.sides, row.recurrent))
    counted = batch["loss_weights"] > 0
    found = []
    for fault in faults.faults_of_input(numbers, model.config):
        where = np.asarray(fault.where)
        if fault.entry.startswith(row.sides[-1]) and where.shape == counted.shape:
            where = where & counted
        elif len(where) == len(counted):
            where = where & counted.any(axis=tuple(range(1, counted.ndim))).reshape(-1, *[1] * (where.ndim - 1))
        found.append(fault._replace(where=where))
    faults.check(found, batch)
