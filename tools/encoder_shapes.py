"""What tools/encoder_fixtures.py makes: a model type, the arguments of its configuration, and whether it scores pairs."""

import json

from safetensors.torch import load_file, save_file

N_VOCAB = 320
BERT = dict(
    vocab_size=N_VOCAB, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
    max_position_embeddings=80, type_vocab_size=2,
)
ROBERTA = BERT | dict(pad_token_id=1, max_position_embeddings=82, type_vocab_size=1)

SHAPES = {
    "bert": ("bert", BERT, False),
    "bert-rank": ("bert", BERT | dict(num_labels=1), True),
    "bert-roberta": ("roberta", ROBERTA, False),
    "bert-xlm-roberta-rank": ("xlm-roberta", ROBERTA | dict(num_labels=3), True),
    "bert-distilbert": (
        "distilbert",
        dict(vocab_size=N_VOCAB, dim=64, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=80),
        False,
    ),
}


def become_hub(name, folder):
    """Gives a model the names that files on the Hub have, where transformers renames them when it loads."""
