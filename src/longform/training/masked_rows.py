"""The head of a masked language model, made to read the masked tokens alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from longform.training.masking import IGNORED


class MaskedRows:
    """Lets the head of a masked language model read the masked tokens alone.

    Scores of all tokens over a vocabulary of tens of thousands would be most of the memory and
    much of the time of a step, and the loss reads every seventh. The encoder's output is cut down
    on its way to the head.

    Args:
        model: Of `AutoModelForMaskedLM`.
    """

    def __init__(self, model: Any) -> None:
        self._rows: Tensor | None = None
        if model.base_model is not model:
            model.base_model.register_forward_hook(self._cut)

    def score(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return scores `[masked, vocabulary]` and true ids `[masked]`."""
        labels = batch["labels"]
        rows = labels != IGNORED
        self._rows = rows
        try:
            logits = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits
        finally:
            self._rows = None
        # An encoder that is not told apart from its head gave the scores of all tokens.
        scores = logits[rows] if logits.shape[:2] == labels.shape else logits[0]
        return scores.float(), labels[rows]

    def _cut(self, module: nn.Module, arguments: Any, output: Any) -> Any:
        if self._rows is not None and "last_hidden_state" in output:
            # One row that is as long as all masked tokens: `[1, masked, width]`.
            output.last_hidden_state = output.last_hidden_state[self._rows].unsqueeze(0)
        return output
