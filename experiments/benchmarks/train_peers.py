"""The model of a size in PyTorch: from the same parameters, with the same optimizer, on the same batches.

Plain modules with `scaled_dot_product_attention`, AdamW(fused=True) and `clip_grad_norm_`; query, key and value are one
product. For bfloat16 there is autocast, and the states between layers are bfloat16 as they are here. PyTorch is not
needed by the package; it comes with the extra `peers`.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.processes import Program
from experiments.benchmarks.report import cores
from experiments.benchmarks.updates import Turn, process_memory

PEERS = {"PyTorch": False, "PyTorch, compiled": True}
"""Name of a program -> whether torch.compile compiles its loss."""

SETTINGS = (
    *("model.num_layers", "model.width", "model.num_heads", "model.feed_forward_width", "model.vocab_size"),
    *("model.norm_epsilon", "model.dtype", "training.batch_size", "training.initial_scale", "task.context", "seed"),
    *("optimizer.learning_rate", "optimizer.weight_decay", "optimizer.beta1", "optimizer.beta2", "optimizer.epsilon"),
    "optimizer.clip_norm",
)
"""Settings that the PyTorch model follows; so it does any that changes no result."""

LOSSES = 20
"""Number of first losses that are compared, those of the warm-up, and of different batches."""


class Reference(NamedTuple):
    """The settings, parameters and batches of the PyTorch model.

    Attributes:
        model: settings of the model, resolved.
        optimizer: settings of the optimizer.
        params: the initial parameters, as this library has them.
        batches: of the first steps, over and over.
        device: "cpu" or "cuda".
    """

    model: Any
    optimizer: Any
    params: Mapping[str, Any]
    batches: Sequence[Mapping[str, np.ndarray]]
    device: str


def torch_program(reference: Reference, compiled: bool, steps: int) -> Program:
    """Return the program of a process: a warm-up of LOSSES updates; then turns of one that is not timed and `steps`."""
    import torch  # type: ignore[import-not-found, unused-ignore]

    torch.set_num_threads(cores())
    torch.set_float32_matmul_precision("high" if reference.device == "cuda" else "highest")  # JAX's own choice
    model = torch_model(reference.model, reference.params).to(reference.device)
    loss_of = torch.compile(model) if compiled else model
    optimizer = _optimizer(model, reference.optimizer)
    batches = [
        tuple(torch.from_numpy(np.asarray(batch[name])).long().to(reference.device) for name in ("target", "labels"))
        for batch in reference.batches
    ]
    following = itertools.cycle(batches)

    def step() -> float:
        tokens, labels = next(following)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(reference.device, torch.bfloat16, enabled=reference.model.dtype == "bfloat16"):
            loss = loss_of(tokens, labels)
        loss.backward()
        if reference.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), reference.optimizer.clip_norm)
        optimizer.step()
        return loss.item()

    def run(number: int) -> Turn:
        if number:
            step()
        seconds, losses = [], []
        for _ in range(steps if number else LOSSES):
            began = time.perf_counter()
            losses.append(step())
            if reference.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        memory = torch.cuda.max_memory_allocated() if reference.device == "cuda" else process_memory()
        return Turn(seconds, losses, memory)

    return run


def torch_model(config: Any, params: Mapping[str, Any]) -> Any:
    """Build the model with these parameters: (tokens, labels) -> mean loss, nats per token."""
    import torch
    from torch import nn
    from torch.nn import functional

    width, heads, hidden = config.width, config.num_heads, config.feed_forward_width

    class Norm(nn.LayerNorm):
        def __init__(self) -> None:
            super().__init__(width, config.norm_epsilon, bias=False)

        def forward(self, x: Any) -> Any:
            return super().forward(x).to(x.dtype)  # in float32 by autocast

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = Norm()
            self.query_key_value = nn.Linear(width, 3 * width, bias=False)
            self.output = nn.Linear(width, width, bias=False)
            self.norm2 = Norm()
            self.up = nn.Linear(width, hidden, bias=False)
            self.down = nn.Linear(hidden, width, bias=False)

        def forward(self, x: Any) -> Any:
            rows, length, _ = x.shape
            parts = self.query_key_value(self.norm1(x)).split(width, dim=-1)
            query, key, value = (part.view(rows, length, heads, -1).transpose(1, 2) for part in parts)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.output(mixed.transpose(1, 2).reshape(rows, length, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(config.vocab_size, width)
            self.position = nn.Embedding(config.max_length, width)
            self.blocks = nn.ModuleList(Block() for _ in range(config.num_layers))
            self.norm = Norm()

        def forward(self, tokens: Any, labels: Any) -> Any:
            dtype = getattr(torch, config.dtype)
            x = self.embedding(tokens).to(dtype) + self.position.weight[: tokens.shape[1]].to(dtype)
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.norm(x), self.embedding.weight)
            return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    model = Model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(_named(params, config.num_layers)[name]))
    return model


def _named(params: Mapping[str, Any], layers: int) -> dict[str, np.ndarray]:
    """Return this library's parameters by the names and in the order of axes of PyTorch's, outputs x inputs."""
    decoder = params["decoder"]
    blocks, own = decoder["blocks"], decoder["blocks"]["self"]
    found = {
        "embedding.weight": params["embedding"]["table"],
        "position.weight": params["input"]["positions"]["table"],
        "norm.weight": decoder["final_norm"]["scale"],
    }
    for i in range(layers):
        width = blocks["self_norm"]["scale"].shape[-1]
        projections = [own[name]["kernel"][i].reshape(width, -1) for name in ("query", "key", "value")]
        found |= {
            f"blocks.{i}.norm1.weight": blocks["self_norm"]["scale"][i],
            f"blocks.{i}.query_key_value.weight": np.concatenate(projections, axis=1).T,
            f"blocks.{i}.output.weight": own["output"]["kernel"][i].reshape(-1, width).T,
            f"blocks.{i}.norm2.weight": blocks["feed_forward_norm"]["scale"][i],
            f"blocks.{i}.up.weight": blocks["feed_forward"]["up"]["kernel"][i].T,
            f"blocks.{i}.down.weight": blocks["feed_forward"]["down"]["kernel"][i].T,
        }
    return {name: np.array(value) for name, value in found.items()}


def _optimizer(model: Any, config: Any) -> Any:
    """Build AdamW; as here, vectors do not decay."""
    import torch

    groups = [
        {"params": [p for p in model.parameters() if (p.dim() > 1) == matrix], "weight_decay": decay}
        for matrix, decay in ((True, config.weight_decay), (False, 0.0))
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True)
