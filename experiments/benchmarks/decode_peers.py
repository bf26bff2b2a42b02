"""The other programs whose generation is timed: transformers (PyTorch) and CTranslate2, with random parameters.

Neither is needed by the package; both come with the extra `peers`.
"""

import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.benchmarks.decode_cases import Case

Run = Callable[[], Any]


class Peer(NamedTuple):
    """Another program.

    Attributes:
        package: what is imported.
        versions: distributions whose versions are printed.
        models: those that it has.
        make: (case) -> a function that writes the answers once.
    """

    package: str
    versions: tuple[str, ...]
    models: tuple[str, ...]
    make: Callable[[Case], Run]


def _torch_model(case: Case) -> Any:
    """Build the model in transformers, with random parameters and no end token."""
    import transformers  # type: ignore[import-not-found, unused-ignore]

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
        layers = {"encoder": size["num_layers"], "decoder": size["num_layers"]}
        sides = {
            name: value
            for side, count in layers.items()
            for name, value in (
                (f"{side}_layers", count),
                (f"{side}_attention_heads", size["num_heads"]),
                (f"{side}_ffn_dim", size["feed_forward_width"]),
            )
        }
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
            **sides,
        )
        model = transformers.MarianMTModel(config)
    for name in ("eos_token_id", "forced_eos_token_id", "bad_words_ids", "max_length"):
        setattr(model.generation_config, name, None)
    return model.eval()


def _torch(case: Case) -> Run:
    import torch  # type: ignore[import-not-found, unused-ignore]

    torch.set_num_threads(os.cpu_count() or 1)
    model, tokens = _torch_model(case), torch.from_numpy(case.tokens()).long()

    def run() -> Any:
        with torch.no_grad():
            return model.generate(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                num_beams=case.width,
                max_new_tokens=case.steps,
                pad_token_id=0,
            )

    return run


def _ctranslate2(case: Case) -> Run:
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
            folder, device="cpu", compute_type="float32", inter_threads=1, intra_threads=os.cpu_count() or 1
        )
    texts = [[words[token] for token in row] for row in case.tokens()]
    lengths = {"max_decoding_length": case.steps, "min_decoding_length": case.steps}
    return lambda: translator.translate_batch(texts, beam_size=case.width, max_input_length=0, **lengths)


PEERS = {
    "transformers (PyTorch)": Peer("transformers", ("transformers", "torch"), ("gpt2", "marian"), _torch),
    "CTranslate2": Peer("ctranslate2", ("ctranslate2",), ("marian",), _ctranslate2),
}
"""Name -> the program."""
