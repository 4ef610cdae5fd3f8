"""The loop that people write by hand: the yardstick of `longform bench --baseline`.

One piece of 512 characters at a time, padded to 512 tokens whatever it holds, in eager fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from longform.models.classifier import even_positions, load_classifier
from longform.models.pooling import TOKEN_POOLINGS
from longform.models.pretrained import usable_positions

_PIECE = 512
"""Characters of a piece, and tokens that it is padded to."""


class PlainLoop:
    """A bundle's encoder and head, without anything that longform does.

    What a piece has beyond 512 tokens is cut off, as it is in such loops.

    Args:
        folder: A bundle with a pretrained encoder.
        prefix: What the encoder wants before each piece.
        threads: Threads of torch.
    """

    def __init__(self, folder: Path, prefix: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = load_classifier(folder).eval()
        encoder = self._model.encoder.model
        encoder.set_attn_implementation("eager")
        self._tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"),
            pad_token=_padding(encoder.config, folder),
        )
        self._prefix = prefix
        self._tokens = min(_PIECE, usable_positions(encoder) or _PIECE)

    def logits(self, text: str) -> Tensor:
        """Return the logits of one document, float32 `[classes]`."""
        with torch.no_grad():
            vectors = [
                self._encode(self._prefix + text[start : start + _PIECE])
                for start in range(0, max(len(text), 1), _PIECE)
            ]
            joined = torch.cat(vectors).unsqueeze(0)
            mask = torch.ones(joined.shape[:2])
            return self._model.head(joined, mask, even_positions(mask))[0]

    def _encode(self, piece: str) -> Tensor:
        inputs = self._tokenizer(
            piece,
            padding="max_length",
            truncation=True,
            max_length=self._tokens,
            return_tensors="pt",
        )
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        hidden = self._model.encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return TOKEN_POOLINGS[self._model.config.token_pooling](hidden, mask)


def _padding(config: Any, folder: Path) -> str:
    """Return the text of the padding token."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    return str(tokenizer.convert_ids_to_tokens(config.pad_token_id or 0))
