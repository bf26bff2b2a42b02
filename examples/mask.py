"""A mask of one's own: every second token, counted back from the query's own."""

from transformer import build


def every_second(query_positions, key_positions):
    return (query_positions - key_positions) % 2 == 0


print(build(architecture="decoder_only", vocab_size=11, attention={"mask": every_second}))
