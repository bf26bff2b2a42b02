"""The rules of what a task's answers may be, from the settings of decoding."""

from collections.abc import Sequence

from experiments.data.tokenizers.tokens import REPLACEMENT, Tokenizer
from experiments.tasks.task import Task
from transformer.decoding import DecodingConfig, matching
from transformer.decoding.rules import Rule
from transformer.errors import problem


def rules_of(decoding: DecodingConfig, task: Task) -> tuple[Rule, ...]:
    """Build the rules that a config names.

    Raises:
        UserError: a constraint that cannot be read, that no tokens obey, or only more than may be written; a minimum
            length where no token ends an answer.
    """
    if task.end is None and decoding.min_new_tokens is not None:
        what = "decoding.min_new_tokens is not read where no token ends an answer"
        raise problem(what, got=decoding.min_new_tokens, do="Leave it out.")
    rules = decoding.rules(() if task.end is None else (task.end,))
    if decoding.constraint is None:
        return rules
    tokenizer = task.tokenizers.target
    alone = [None if REPLACEMENT in (text := tokenizer.decode([token])) else text for token in range(task.vocab_size)]
    other = [token for token, text in enumerate(alone) if text and text.strip()][:1]  # any, to stand before
    first = texts_behind(tokenizer, other if task.continues else [], alone)
    constraint = matching(decoding.constraint, texts_behind(tokenizer, other, alone), task.end, first)
    most, least = decoding.max_new_tokens or task.max_answer_length, int(constraint.left[0])
    if least > most:
        what = "decoding.constraint needs longer answers than may be written"
        do = "Raise decoding.max_new_tokens (of generate and evaluate: --max_new_tokens)."
        raise problem(what, got=f"at most {most} tokens", expected=f"{least} or more", do=do)
    return (*rules, constraint)


def texts_behind(tokenizer: Tokenizer, before: Sequence[int], alone: Sequence[str | None]) -> list[str | None]:
    """Return the text that each token adds behind others.

    Args:
        alone: the text of each token by itself; "" and None stay, which are special tokens and parts of a character.
    """
    return [tokenizer.decode_after(before, [token]) if text else text for token, text in enumerate(alone)]
