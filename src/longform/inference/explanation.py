"""Documents with what their answers rest on, for people to read: parts, and tokens where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from longform.decision.evidence import EvidenceOptions
from longform.errors import InputError
from longform.inference.predictor import Predictor
from longform.types import Document, Prediction, TokenContribution


@dataclass(frozen=True, slots=True)
class ExplainedDocument:
    """A document, its answer with evidence, and what its tokens add.

    Attributes:
        document: As it was given.
        prediction: With evidence and its explanation.
        tokens: What each token adds to the label's logit, in reading order; None where it was not
            asked for.
    """

    document: Document
    prediction: Prediction
    tokens: tuple[TokenContribution, ...] | None = None

    @property
    def label(self) -> str:
        """The label that is explained."""
        explanation = self.prediction.explanation
        return self.prediction.label if explanation is None else explanation.label

    def text(self, part: int) -> str:
        """Return the first text, or the second of a pair."""
        return self.document.text if part == 0 else self.document.text_pair or ""

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints of it; texts are not repeated."""
        content = asdict(self.prediction)
        content["evidence"] = content["evidence"] or []
        for name in ("labels", "exit", "prediction_set"):
            if content[name] is None:
                del content[name]
        if self.tokens is not None:
            content["tokens"] = [asdict(token) for token in self.tokens]
        return content


def explain_documents(
    predictor: Predictor,
    documents: Sequence[Document],
    options: EvidenceOptions,
    *,
    tokens: bool = False,
) -> list[ExplainedDocument]:
    """Classify documents and tell what each answer rests on.

    Args:
        predictor: The model.
        documents: What to explain.
        options: What is asked for.
        tokens: Also split the logit over the tokens.

    Raises:
        InputError: A document cannot be read, the label is not one of the model's, or the model is
            no sum over tokens.
    """
    explained = []
    for document, prediction in zip(
        documents, predictor.predict(documents, evidence=options), strict=True
    ):
        found = None
        if tokens:
            label = options.label or prediction.label
            split = predictor.scorer.token_contributions(document, predictor.rule, label)
            if split is None:
                raise InputError(
                    "Only a model that is a sum over tokens can be split over them.",
                    found=f"{predictor.bundle.folder.name}, which runs on {predictor.backend_info}",
                    fix="Leave --tokens out: the parts are explained for every model. A linear "
                    "model is such a sum ('longform train --encoder linear').",
                )
            found = tuple(split)
        explained.append(ExplainedDocument(document, prediction, found))
    return explained
