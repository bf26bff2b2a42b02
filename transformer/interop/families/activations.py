"""Activation functions by the names of Hugging Face's ACT2FN -> rows of `nn.feed_forward.ACTIVATIONS`."""

PLAIN = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
"""Activations of a feed-forward of two maps."""

GATED = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
}
"""Activations of a feed-forward whose first map is gated by a second one."""
