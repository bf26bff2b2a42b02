"""A run as a checkpoint of Hugging Face: config.json, model.safetensors, generation_config.json, tokenizer.json."""

import json
import os
from pathlib import Path
from typing import Any

from experiments.converting.tokenizer_json import exported
from experiments.data.tokenizers.tokens import SpecialTokens
from experiments.runs.trained import TrainedExperiment
from experiments.tasks.task import Task
from transformer.interop import save_pretrained
from transformer.interop.new_directory import new_directory
from transformer.nn.module_rows import structure

TOKENS = {
    "pad_token": "padding",
    "bos_token": "begin",
    "cls_token": "begin",
    "eos_token": "end",
    "sep_token": "separator",
    "mask_token": "mask",
    "unk_token": "unknown",
}
"""Special token of Hugging Face -> ours."""


def write_hugging_face(run: TrainedExperiment, output: str | os.PathLike[str], family: str | None = None) -> list[str]:
    """Write a run so that `transformers` loads it; return lines about what is not written.

    Args:
        output: a new directory.
        family: row of `transformer.interop.FAMILIES`; None: the first that has the model's settings.

    Raises:
        UserError: a directory that is there, or a setting of the model that the family does not have.
        OSError: it cannot be written.
    """
    task = run.experiment.task
    tokenizer, texts, line = exported(task)
    with new_directory(output, "output") as beside:
        save_pretrained(run.experiment.model, run.params, beside, family=family, tokenizer=tokenizer)
        entries = json.loads((beside / "config.json").read_text(encoding="utf-8"))
        _write(beside / "config.json", {**entries, **_ids(run), **_labels(task, len(entries.get("id2label", ())))})
        if task.classes is None and "target" in _sides(run):
            longest = run.experiment.config.decoding.max_new_tokens or task.max_answer_length
            ids = {name: value for name, value in _ids(run).items() if name.endswith("_id")}
            _write(beside / "generation_config.json", {**ids, "max_new_tokens": longest})
        if tokenizer is not None:
            special = {name: texts[own] for name, own in TOKENS.items()}
            _write(beside / "special_tokens_map.json", special)
            kind = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
            _write(beside / "tokenizer_config.json", {**kind, **special})
    return [] if line is None else [line]


def _sides(run: TrainedExperiment) -> tuple[str, ...]:
    return tuple(structure(run.experiment.config.model.architecture).sides)


def _ids(run: TrainedExperiment) -> dict[str, Any]:
    """Return the ids with which texts begin, end and are padded."""
    task, sides = run.experiment.task, _sides(run)
    ids: dict[str, Any] = {"pad_token_id": SpecialTokens.padding, "bos_token_id": SpecialTokens.begin}
    if task.classes is None and task.end is not None:
        ids["eos_token_id"] = task.end
    if {"source", "target"} <= {*sides}:
        ids |= {"decoder_start_token_id": SpecialTokens.begin, "is_encoder_decoder": True}
    return ids


def _labels(task: Task, count: int) -> dict[str, Any]:
    """Return the labels of a classifier by their number, and back; `count` of them, of which data may name fewer."""
    if task.classes is None:
        return {}
    labels = [*task.classes, *(f"LABEL_{i}" for i in range(len(task.classes), count))]
    return {
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
