"""The answers that `experiments.generate` writes: lines on standard output, or objects of a JSONL file.

    a text, its answer      {"text": "3 March 2024", "answer": "2024-03-03", "num_tokens": 11, "score": -0.02}
    with several            the same, and "answers": [{"answer": ..., "num_tokens": ..., "score": ...}, ...]
    a text, its label       {"text": "a fine day", "label": "good", "probabilities": {"good": 0.9, "bad": 0.1}}

`score` is the log-probability of the tokens by the model (nats), null where it is no number; `num_tokens` counts the
end token too. Texts of a file are answered in parts, so that the first answers are printed before the last are written;
each object and each line stands in the place of its text, and a blank line has a blank answer, or no label.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cli.terminal import terminal
from experiments.data.tokenizers.tokens import REPLACEMENT
from experiments.runs.generation import Answer, Label, Texts, answers
from experiments.runs.open_run import labels_in_words
from experiments.runs.trained import TrainedExperiment
from experiments.storage.workdir import write_text_atomically
from experiments.training.progress import count_progress
from transformer.errors import problem

PART = 4096
"""Number of texts that are answered before their answers are printed; within it they are sorted by length."""


def refuse_output(path: str | None) -> None:
    """Raise a UserError for the path of a file that cannot be made."""
    if path is None:
        return
    if Path(path).exists():
        kind = "a folder" if Path(path).is_dir() else "a file"
        raise problem(f"--output is {kind} that is there already", got=path, do="Choose another path.")
    if not Path(path).absolute().parent.is_dir():
        what = "--output is in no folder that is there"
        raise problem(what, got=path, do=f"Make the folder: mkdir -p {Path(path).parent}")


def print_answers(run: TrainedExperiment, texts: Sequence[str], asked: Texts) -> None:
    """Print the answer to each text, or its likeliest labels, on a line of its own."""
    for found in answered(run, texts, asked):
        print(_line(found))


def print_answer(run: TrainedExperiment, asked: Texts) -> None:
    """Print the answer to one text, where it is written from its first token to its last as it comes."""
    ((text,), (number,), request) = asked
    tokens = run.stream(text, request, number)
    if tokens is None:
        print_answers(run, asked.texts, asked)
        return
    for piece in pieces(lambda ids: run.experiment.task.answer(text, np.array(ids, np.int32)), tokens):
        print(piece, end="", flush=True)
    print()


def pieces(answer: Callable[[list[int]], str], tokens: Iterable[int]) -> Iterator[str]:
    """Yield the parts of an answer's text as its tokens come; together they are the whole text.

    Characters of which a part is still missing are held back, as is all behind a text that was changed by its next
    token, as some decoders do: the whole text then follows on a line of its own.

    Args:
        answer: the text that tokens stand for.
    """
    ids: list[int] = []
    shown = ""
    for token in tokens:
        ids.append(token)
        text = answer(ids).rstrip(REPLACEMENT)
        if text.startswith(shown) and text != shown:
            yield text[len(shown) :]
            shown = text
    whole = answer(ids)
    yield whole[len(shown) :] if whole.startswith(shown) else f"\n{whole}"


def write_answers(run: TrainedExperiment, texts: Sequence[str], asked: Texts, path: str) -> None:
    """Write the answers to a JSONL file, which appears when it is whole.

    Raises:
        OSError: it cannot be written; the error names the path.
    """
    objects = (written(text, found, asked, run) for text, found in zip(texts, answered(run, texts, asked), strict=True))
    write_text_atomically(path, "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in objects))


def answered(run: TrainedExperiment, texts: Sequence[str], asked: Texts) -> Iterator[list[Answer] | Label | None]:
    """Yield the answers to each text in order, the best first, or its label; None for one that is not asked.

    A bar on standard error shows the progress, where that is a terminal.
    """
    at, total = 0, len(asked.texts)
    for first in range(0, total, PART):
        part = Texts(asked.texts[first : first + PART], asked.numbers[first : first + PART], asked.request)
        with count_progress(total, first, "texts", terminal(error=True)) as done:
            found = answers(run, part, done)
        for number, answer in zip(part.numbers, found, strict=True):
            yield from [None] * (number - at)
            yield answer
            at = number + 1
        sys.stdout.flush()
    yield from [None] * (len(texts) - at)


def written(text: str, found: list[Answer] | Label | None, asked: Texts, run: TrainedExperiment) -> dict[str, Any]:
    """Build the object of a text in the JSONL file."""
    if run.experiment.task.classes is not None:
        label, shares = (None, None) if found is None else found
        return {"text": text, "label": label, "probabilities": shares}
    there = [_answer(answer) for answer in found or [] if answer.score != -math.inf]
    best = there[0] if there else {"answer": "", "num_tokens": 0, "score": None}
    return {"text": text, **best, **({} if asked.request.num_return is None else {"answers": there})}


def _answer(answer: Answer) -> dict[str, Any]:
    score = None if answer.score is None or math.isinf(answer.score) else answer.score
    return {"answer": answer.text, "num_tokens": len(answer.ids), "score": score}


def _line(found: list[Answer] | Label | None) -> str:
    if found is None:
        return ""
    return labels_in_words(found.probabilities) if isinstance(found, Label) else found[0].text
