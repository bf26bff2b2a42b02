"""The other programs whose generation is timed: transformers (PyTorch) and CTranslate2, with random parameters.

Neither is needed by the package; both come with the extra `peers`.
"""

import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.benchmarks.decode_cases import Case
from experiments.benchmarks.report import cores

Write = Callable[[], int]
"""A function that writes the answers of a case once, and returns the number of their tokens."""


class Peer(NamedTuple):
    """Another program.

    Attributes:
        packages: those that it needs; their versions are printed.
        models: those that it has.
        make: (case) -> a function that writes the answers, on a CPU.
    """

    packages: tuple[str, ...]
    models: tuple[str, ...]
    make: Callable[[Case], Write]


def _torch_model(case: Case) -> Any:
    """Build the model in transformers, with random parameters and no end token."""
    import torch  # type: ignore[import-not-found, unused-ignore]
    import transformers  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    size = case.sizes
    if case.model == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=size["vocab_size"],
            n_positions=size["max_length"],
            n_embd=size["width"],
            n_layer=size["num_layers"],
            n_head=size["num_heads"],
            n_inner=size["feed_forward_width"],
            bos_token_id=None,
            eos_token_id=None,
        )
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.MarianConfig(
            vocab_size=size["vocab_size"],
            d_model=size["width"],
            max_position_embeddings=size["max_length"],
            activation_function="relu",
            scale_embedding=True,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
            encoder_layers=size["num_layers"],
            decoder_layers=size["num_layers"],
            encoder_attention_heads=size["num_heads"],
            decoder_attention_heads=size["num_heads"],
            encoder_ffn_dim=size["feed_forward_width"],
            decoder_ffn_dim=size["feed_forward_width"],
        )
        model = transformers.MarianMTModel(config)
    for name in ("eos_token_id", "forced_eos_token_id", "bad_words_ids", "max_length"):
        setattr(model.generation_config, name, None)
    return model.eval()


def _torch(case: Case) -> Write:
    import torch  # type: ignore[import-not-found, unused-ignore]

    torch.set_num_threads(cores())
    model, tokens = _torch_model(case), torch.from_numpy(case.tokens()).long()
    begun = case.read if case.model == "gpt2" else 1  # what the answers begin with: the prompt, or the start token

    def write() -> int:
        with torch.no_grad():
            answers = model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                num_beams=case.width,
                max_new_tokens=case.steps,
                pad_token_id=0,
            )
        return answers[:, begun:].numel()

    return write


def _ctranslate2(case: Case) -> Write:
    import ctranslate2  # type: ignore[import-not-found, unused-ignore]
    from ctranslate2.converters.transformers import MarianMTLoader  # type: ignore[import-not-found, unused-ignore]

    words = [f"w{i}" for i in range(case.sizes["vocab_size"] - 1)]  # the converter leaves out the last one, a padding
    spec = MarianMTLoader().get_model_spec(_torch_model(case))
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.bos_token = spec.config.eos_token = spec.config.unk_token = words[1]
    spec.config.decoder_start_token = words[0]
    spec.validate()
    spec.optimize(quantization="float32")
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        translator = ctranslate2.Translator(
            folder, device="cpu", compute_type="float32", inter_threads=1, intra_threads=cores()
        )
    texts = [[words[token] for token in row] for row in case.tokens()]
    lengths = {"max_decoding_length": case.steps, "min_decoding_length": case.steps}

    def write() -> int:
        answers = translator.translate_batch(texts, beam_size=case.width, max_input_length=0, **lengths)
        return sum(len(answer.hypotheses[0]) for answer in answers)

    return write


PEERS = {
    "transformers (PyTorch)": Peer(("transformers", "torch"), ("gpt2", "marian"), _torch),
    "CTranslate2": Peer(("ctranslate2", "transformers", "torch"), ("marian",), _ctranslate2),
}
"""Name -> the program."""
