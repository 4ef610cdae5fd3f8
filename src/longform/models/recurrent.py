"""`lstm` as an encoder: a BiLSTM over the embedded tokens of a segment."""

from __future__ import annotations

from torch import Tensor, nn

from longform.models.configuration import LongTextConfig
from longform.models.pooling import TOKEN_POOLINGS
from longform.models.recurrence import Recurrence


class RecurrentEncoder(nn.Module):
    """Embeddings read by an LSTM in both directions, trained from nothing.

    With the pooling `max`, its default, it is the BiLSTM-max of Conneau et al., "Supervised
    Learning of Universal Sentence Representations" (2017). `last` reads each direction where it
    has seen the whole segment; padding is never read.

    Args:
        config: `vocabulary_size`, `encoder_hidden`, `encoder_layers`, `token_pooling` and `dropout`
            are read.
    """

    def __init__(self, config: LongTextConfig) -> None:
        super().__init__()
        width = config.encoder_hidden
        self.pooling = config.token_pooling
        self.tokens = nn.Embedding(config.vocabulary_size, width)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrence = Recurrence(
            nn.LSTM, width, width // 2, config.encoder_layers, dropout=config.dropout
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode segments.

        Args:
            input_ids: int64 `[segments, tokens]`.
            attention_mask: int64 `[segments, tokens]`; the real tokens come first.

        Returns:
            float `[segments, encoder_hidden]`.
        """
        embedded = self.dropout(self.tokens(input_ids))
        states = self.recurrence.read(embedded, attention_mask)
        if self.pooling == "last":
            return self.recurrence.ends(states, attention_mask)
        return TOKEN_POOLINGS[self.pooling](states, attention_mask)
