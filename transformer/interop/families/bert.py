"""BERT, Devlin et al. 2018: with its masked-language-model head, a head of classes on its pooler, or bare."""

from transformer.interop.entries import Copy, Fixed, Rates, Unread
from transformer.interop.families.activations import PLAIN
from transformer.interop.family import Family, Tensor, attention

BLOCK, OURS = "bert.encoder.layer.*", "encoder.blocks"

BERT = Family(
    architectures={
        "BertForMaskedLM": "tokens",
        "BertForSequenceClassification": "classes",
        "BertModel": None,
        "BertForPreTraining": "tokens",
    },
    constants={
        "architecture": "encoder_only",
        "position": "learned",
        "norm": "layer",
        "norm_placement": "post",
        "embedding.scale": False,
        "embedding.norm": True,
        "tie_embeddings": True,
        "token_head.bias": True,
        "token_head.transform": "norm",
    },
    classes={"class_head.transform": "tanh", "class_head.reads": "first"},
    entries=(
        Copy("vocab_size", "vocab_size"),
        Copy("max_position_embeddings", "max_length"),
        Copy("hidden_size", "width"),
        Copy("num_hidden_layers", "num_layers"),
        Copy("num_attention_heads", "num_heads"),
        Copy("intermediate_size", "feed_forward_width"),
        Copy("type_vocab_size", "embedding.types", 2),
        Copy("hidden_act", "activation", "gelu", PLAIN),
        Copy("layer_norm_eps", "norm_epsilon", 1e-12, kind=float),
        Copy("tie_word_embeddings", "token_head.tied", True, kind=bool),
        Fixed("position_embedding_type", "absolute"),
        Fixed("is_decoder", False),
        Fixed("add_cross_attention", False),
        Rates("hidden_dropout_prob", "attention_probs_dropout_prob"),
        Unread("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        Unread("pooler_size_per_head", "pooler_type"),
    ),
    names={
        "embedding": "bert.embeddings.word_embeddings",
        "input.positions": "bert.embeddings.position_embeddings",
        "input.types": "bert.embeddings.token_type_embeddings",
        "input.norm": "bert.embeddings.LayerNorm",
        **attention(f"{OURS}.self", f"{BLOCK}.attention", "self.query", "self.key", "self.value", "output.dense"),
        f"{OURS}.self_norm": f"{BLOCK}.attention.output.LayerNorm",
        f"{OURS}.feed_forward.up": f"{BLOCK}.intermediate.dense",
        f"{OURS}.feed_forward.down": f"{BLOCK}.output.dense",
        f"{OURS}.feed_forward_norm": f"{BLOCK}.output.LayerNorm",
        "head.transform.dense": "cls.predictions.transform.dense",
        "head.transform.norm": "cls.predictions.transform.LayerNorm",
        "head.kernel": Tensor("cls.predictions.decoder.weight"),
        "head.bias": Tensor("cls.predictions.bias"),
        "class_head.transform.dense": "bert.pooler.dense",
        "class_head": "classifier",
    },
    prefix="bert.",
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    buffers=("*embeddings.position_ids", "*embeddings.token_type_ids"),
    of_other_heads=("cls.*", "bert.pooler.*", "classifier.*"),
)
