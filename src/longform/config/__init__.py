"""One flat configuration for a run: what can be set, and how it is read."""

from longform.config.loading import ALIASES, load_config, parse_assignments, read_settings
from longform.config.settings import (
    AugmentationSettings,
    AugmentationStep,
    CleaningStep,
    DataSettings,
    ModelSettings,
    ProblemType,
    RunConfig,
    SegmentSettings,
    TrainingSettings,
)

__all__ = [
    "ALIASES",
    "AugmentationSettings",
    "AugmentationStep",
    "CleaningStep",
    "DataSettings",
    "ModelSettings",
    "ProblemType",
    "RunConfig",
    "SegmentSettings",
    "TrainingSettings",
    "load_config",
    "parse_assignments",
    "read_settings",
]
