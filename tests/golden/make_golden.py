"""Makes the golden files beside it: small inputs, and what PyTorch computes from them, weights and gradients included.

    python tests/golden/make_golden.py          needs torch (`make test-peers` installs it)

Everything random comes from NumPy's generator with a fixed seed, in multiples of 1/64; PyTorch computes in float64 on
the CPU; results are rounded to float32. So the files hold the right answer to half a unit of float32, whatever the
machine. Sizes differ from each other, so that no two axes can be confused. `test_golden.py` compares our code with the
files, `peers/test_golden_files.py` the files with a fresh run.

`tests.golden.files.load` reads a file. Entries: `state.NAME` a parameter by PyTorch's name (layers stacked:
`layers.*.`), `grad.NAME` the gradient of sum(result x cotangent) with respect to a parameter or an input, the rest by
their own names. Gradients of a Transformer's layers are those of the encoder's first and the decoder's last layer, with
a leading axis of 1.

adamw.npz: torch.optim.AdamW after clip_grad_norm_, `initial.NAME`, `gradient.NAME` and `after.NAME` (both with a
leading axis of steps), and learning_rate (per step), beta1, beta2, epsilon, weight_decay, clip_norm. Names are paths in
a tree of our parameters; weight decay was on the names that end in kernel or table, not on scale and bias.
"""

import pathlib
import sys
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

if __name__ == "__main__":  # run as a script, not imported by a test
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from tests.golden.files import FOLDER, Record, save
from tests.golden.torch_layout import stack_layers


def tensor(array: np.ndarray) -> torch.Tensor:
    """float64 where the array is float32, with a gradient."""
    if array.dtype.kind != "f":
        return torch.from_numpy(array).long()
    return torch.from_numpy(array).double().requires_grad_()


def coarse(values: np.ndarray) -> np.ndarray:
    """Multiples of 1/64, float32: exact, and few bytes once compressed."""
    return (np.round(values * 64) / 64).astype(np.float32)


def normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return coarse(random.standard_normal(shape))


def stored(entries: dict[str, torch.Tensor | np.ndarray | None]) -> Record:
    """Convert to the numbers of a file: float32, whole numbers as they are."""
    arrays = {}
    for name, value in entries.items():
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        arrays[name] = array.astype(np.float32) if array.dtype.kind == "f" else array.astype(np.int32)
    return arrays


def randomise(module: nn.Module, random: np.random.Generator) -> nn.Module:
    """`module` in float64 with parameters that are float32 numbers, none of them 0 or 1 throughout."""
    module = module.double()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = random.standard_normal(parameter.shape)
            if parameter.ndim > 1:
                values = values * (1.5 if "in_proj" in name else 1.0) / np.sqrt(parameter.shape[-1])
            else:
                values = 0.3 * values + name.endswith("weight")  # a norm's scale
            parameter.copy_(torch.from_numpy(coarse(values)))
    return module


def named(prefix: str, values: dict[str, torch.Tensor | np.ndarray]) -> dict[str, torch.Tensor | np.ndarray]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def state_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def gradients_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.grad.numpy() for name, p in module.named_parameters()}


def hidden_keys(lengths_B: np.ndarray, length: int) -> torch.Tensor:
    """PyTorch's key_padding_mask, B S: True is not seen."""
    return torch.from_numpy(np.arange(length) >= np.asarray(lengths_B)[:, None])


def later_keys(length: int) -> torch.Tensor:
    """PyTorch's causal attn_mask, T T: True is not seen."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def attention(seed: int, num_heads: int, width: int, *, cross: bool, causal: bool, weight_gradients: bool) -> Record:
    """torch.nn.MultiheadAttention with key padding; the output, the weights of each head and gradients."""
    random = np.random.default_rng(seed)
    B, T, S = 4, 5, 7
    module = randomise(nn.MultiheadAttention(width, num_heads, batch_first=True), random)
    target_BTD = normal(random, B, T, width)
    source = {"source": normal(random, B, S, width)} if cross else {}
    lengths_B = np.array([S if cross else T, 1, 4, 2])
    cotangent_BTD = normal(random, B, T, width)
    inputs = {name: tensor(array) for name, array in ({"target": target_BTD} | source).items()}
    keys = inputs.get("source", inputs["target"])
    output_BTD, weights_BNTS = module(
        inputs["target"],
        keys,
        keys,
        key_padding_mask=hidden_keys(lengths_B, keys.shape[1]),
        attn_mask=later_keys(T) if causal else None,
        average_attn_weights=False,
    )
    (output_BTD * torch.from_numpy(cotangent_BTD)).sum().backward()
    results = {"lengths": lengths_B, "output": output_BTD, "weights": weights_BNTS, "cotangent": cotangent_BTD}
    gradients = {name: x.grad for name, x in inputs.items()}
    if weight_gradients:
        gradients |= gradients_of(module)
    return stored(inputs | results | named("state", state_of(module)) | named("grad", gradients))


class Seq2Seq(nn.Module):
    """torch.nn.Transformer between embeddings and an output without bias.

    nn.Transformer ends each stack with a norm even where norms come after the sublayers. The model of 2017 and ours do
    not, so the stacks are made here, with a final norm for norm_first only.
    """

    def __init__(self, vocab_size: int, layer: dict, encoder_layers: int, decoder_layers: int):
        super().__init__()
        width = layer["d_model"]
        layer = layer | {"dropout": 0.0, "batch_first": True}
        self.source_embedding = nn.Embedding(vocab_size, width)
        self.target_embedding = nn.Embedding(vocab_size, width)
        norms = [nn.LayerNorm(width) if layer["norm_first"] else None for _ in range(2)]
        self.transformer = nn.Transformer(
            width,
            layer["nhead"],
            custom_encoder=nn.TransformerEncoder(
                nn.TransformerEncoderLayer(**layer), encoder_layers, norms[0], enable_nested_tensor=False
            ),
            custom_decoder=nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), decoder_layers, norms[1]),
            batch_first=True,
        )
        self.head = nn.Linear(width, vocab_size, bias=False)

    def forward(
        self, source_BS: torch.Tensor, target_BT: torch.Tensor, source_hidden_BS: torch.Tensor, target_hidden_BT=None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(decoder's output B T D, logits B T V); True in a mask is a key that is not seen."""
        hidden_BTD = self.transformer(
            self.source_embedding(source_BS),
            self.target_embedding(target_BT),
            tgt_mask=later_keys(target_BT.shape[1]),
            src_key_padding_mask=source_hidden_BS,
            memory_key_padding_mask=source_hidden_BS,
            tgt_key_padding_mask=target_hidden_BT,
        )
        return hidden_BTD, self.head(hidden_BTD)


def transformer(seed: int, *, norm_first: bool, activation: str) -> Record:
    """torch.nn.Transformer, source padding, causal target: the decoder's output, logits and gradients."""
    random = np.random.default_rng(seed)
    N, D, F_, V, B, T, S = 2, 8, 11, 10, 6, 7, 9
    layer = {"d_model": D, "nhead": N, "dim_feedforward": F_, "norm_first": norm_first, "activation": activation}
    module = randomise(Seq2Seq(V, layer, encoder_layers=3, decoder_layers=5), random)
    source_BS, target_BT = random.integers(V, size=(B, S)), random.integers(V, size=(B, T))
    lengths_B = np.array([S, 1, 4, 8, 2, 6])
    cotangent_BTV = normal(random, B, T, V)
    hidden_BTD, logits_BTV = module(tensor(source_BS), tensor(target_BT), hidden_keys(lengths_B, S))
    (logits_BTV * torch.from_numpy(cotangent_BTV)).sum().backward()
    gradients = stack_layers(gradients_of(module))
    for name, array in gradients.items():
        if "encoder.layers" in name:
            gradients[name] = array[:1]
        elif "decoder.layers" in name:
            gradients[name] = array[-1:]
    batch = {"source": source_BS, "target": target_BT, "source_lengths": lengths_B}
    results = {"hidden": hidden_BTD, "logits": logits_BTV, "cotangent": cotangent_BTV}
    state = stack_layers(state_of(module))
    return stored(batch | results | named("state", state) | named("grad", gradients))


def recurrent(
    seed: int, kind: str, *, width: int = 10, layers: int = 2, bidirectional: bool = True, batch: int = 4, length: int = 7
) -> Record:
    """torch.nn.GRU or LSTM over packed sequences: states of the last layer, last states of all layers, gradients.

    Where a second bias is only added to the first, it is zero, so that the state of the module reads as ours.
    """
    random = np.random.default_rng(seed)
    state_width = width // (1 + bidirectional)
    kinds = {"gru": nn.GRU, "lstm": nn.LSTM}
    module = randomise(
        kinds[kind](width, state_width, layers, batch_first=True, bidirectional=bidirectional), random
    )
    for name, parameter in module.named_parameters():
        if name.startswith("bias_hh"):
            parameter.data[: 2 * state_width if kind == "gru" else None] = 0.0
    source_BSD = tensor(normal(random, batch, length, width))
    lengths_B = np.array([length, *random.integers(1, length + 1, size=batch - 1)])
    packed = nn.utils.rnn.pack_padded_sequence(
        source_BSD, torch.from_numpy(lengths_B), batch_first=True, enforce_sorted=False
    )
    states, last = module(packed)
    output_BSD, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=length)
    last = last if isinstance(last, tuple) else (last,)
    # (L directions) B E -> L B D, both ways side by side.
    last = [x.reshape(layers, -1, batch, state_width).transpose(1, 2).flatten(2) for x in last]
    cotangents = {"cotangent": normal(random, batch, length, width)}
    cotangents |= {f"cotangent_last{i}": normal(random, layers, batch, width) for i in range(len(last))}
    results = [output_BSD, *last]
    sum((x * torch.from_numpy(c)).sum() for x, c in zip(results, cotangents.values(), strict=True)).backward()
    gradients = {"source": source_BSD.grad} | gradients_of(module)
    entries = {"source": source_BSD, "lengths": lengths_B, "output": output_BSD}
    entries |= {f"last{i}": x for i, x in enumerate(last)} | cotangents
    return stored(entries | named("state", state_of(module)) | named("grad", gradients))


def functional(seed: int) -> Record:
    """layer_norm, rms_norm and cross_entropy, with gradients; an epsilon and inputs small enough for it to matter."""
    random = np.random.default_rng(seed)
    B, T, D, V = 3, 5, 11, 13
    epsilon, smoothing = 1e-3, 0.1
    entries = {
        "x": coarse(0.1 * random.standard_normal((B, T, D)) + 0.05),
        "scale": normal(random, D),
        "bias": normal(random, D),
        "logits": 3 * normal(random, B, T, V),
    }
    labels_BT = random.integers(V, size=(B, T))
    cotangent_BTD, cotangent_BT = normal(random, B, T, D), normal(random, B, T)
    results = {}

    def run(name: str, function: Callable[..., torch.Tensor], arguments: list[str], cotangent: np.ndarray) -> None:
        inputs = [tensor(entries[argument]) for argument in arguments]
        result = function(*inputs)
        (result * torch.from_numpy(cotangent)).sum().backward()
        results[name] = result
        results.update({f"grad.{name}.{a}": x.grad for a, x in zip(arguments, inputs, strict=True)})

    run("layer_norm", lambda x, w, b: F.layer_norm(x, (D,), w, b, epsilon), ["x", "scale", "bias"], cotangent_BTD)
    run("rms_norm", lambda x, w: F.rms_norm(x, (D,), w, epsilon), ["x", "scale"], cotangent_BTD)
    for name, share in (("cross_entropy", 0.0), ("cross_entropy_smoothed", smoothing)):

        def loss(logits_BTV: torch.Tensor, share: float = share) -> torch.Tensor:
            logits, labels = logits_BTV.flatten(0, 1), tensor(labels_BT).flatten()
            return F.cross_entropy(logits, labels, reduction="none", label_smoothing=share).reshape(B, T)

        run(name, loss, ["logits"], cotangent_BT)
    settings = {"epsilon": epsilon, "smoothing": smoothing, "labels": labels_BT}
    return stored(entries | settings | {"cotangent": cotangent_BTD, "cotangent_tokens": cotangent_BT} | results)


def adamw(seed: int) -> Record:
    """torch.optim.AdamW after torch.nn.utils.clip_grad_norm_, as a trajectory; clipping acts at every other step."""
    random = np.random.default_rng(seed)
    shapes = {
        "decoder.blocks.self.query.kernel": (2, 5, 3, 4),
        "decoder.blocks.self.query.bias": (2, 3, 4),
        "decoder.blocks.self_norm.scale": (2, 5),
        "embedding.table": (7, 5),
    }
    steps, clip_norm, weight_decay = 6, 1.5, 0.3
    settings = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}
    learning_rates = np.array([0.01, 0.02, 0.03, 0.025, 0.02, 0.005])
    initial = {name: normal(random, *shape) for name, shape in shapes.items()}
    sizes = np.where(np.arange(steps) % 2, 0.05, 1.0)  # 184 numbers: norms of about 0.7 and 14
    gradients = {
        name: np.stack([coarse(size * random.standard_normal(shape)) for size in sizes])
        for name, shape in shapes.items()
    }
    parameters = {name: nn.Parameter(torch.from_numpy(array).double()) for name, array in initial.items()}
    decayed = [p for name, p in parameters.items() if name.endswith(("kernel", "table"))]
    others = [p for name, p in parameters.items() if not name.endswith(("kernel", "table"))]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["epsilon"],
    )
    after: dict[str, list[np.ndarray]] = {name: [] for name in shapes}
    for step, rate in enumerate(learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        for name, parameter in parameters.items():
            parameter.grad = torch.from_numpy(gradients[name][step]).double()
        nn.utils.clip_grad_norm_(list(parameters.values()), clip_norm)
        optimizer.step()
        for name, parameter in parameters.items():
            after[name].append(parameter.detach().numpy().copy())
    settings |= {"learning_rate": learning_rates, "clip_norm": clip_norm, "weight_decay": weight_decay}
    trajectory = named("after", {name: np.stack(values) for name, values in after.items()})
    return stored(settings | named("initial", initial) | named("gradient", gradients) | trajectory)


GOLDEN: dict[str, Callable[[], Record]] = {
    "attention_self": lambda: attention(1, 2, 6, cross=False, causal=True, weight_gradients=True),
    "attention_cross": lambda: attention(2, 2, 6, cross=True, causal=False, weight_gradients=True),
    "attention_12_heads": lambda: attention(3, 12, 24, cross=True, causal=False, weight_gradients=False),
    "transformer_post_relu": lambda: transformer(4, norm_first=False, activation="relu"),
    "transformer_pre_gelu": lambda: transformer(5, norm_first=True, activation="gelu"),
    "functional": lambda: functional(6),
    "recurrent_gru": lambda: recurrent(8, "gru"),
    "recurrent_lstm": lambda: recurrent(9, "lstm"),
    "adamw": lambda: adamw(7),
}
"""File name without .npz -> what makes its entries."""


def main() -> None:
    for name, make in GOLDEN.items():
        path = FOLDER / f"{name}.npz"
        save(path, make())
        print(f"{path.stat().st_size:7,d} bytes  {path}")


if __name__ == "__main__":
    main()
