"""How a student learns from a teacher's answers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class DistillationSettings(BaseModel):
    """What `longform distill` minimises beside the loss of the labels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    temperature: float = Field(2.0, gt=0)
    """Divides the logits of teacher and student before they are compared: above 1, the classes that
    the teacher holds for less likely count for more."""
    hard_share: float = Field(0.7, ge=0, le=1)
    """Weight of the labels' loss; the teacher's answers have the rest."""
    hidden_weight: float = Field(0.0, ge=0)
    """Above 0, a document's mean segment vector, projected, is also drawn to the teacher's."""
