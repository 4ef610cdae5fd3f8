"""One flat configuration for a run: what can be set, and how it is read."""

from longform.config.data import (
    AugmentationSettings,
    AugmentationStep,
    DataSettings,
    ProblemType,
)
from longform.config.distillation import DistillationSettings
from longform.config.linear import LINEAR, LinearSettings
from longform.config.loading import (
    ALIASES,
    load_config,
    load_settings,
    parse_assignments,
    read_settings,
)
from longform.config.model import (
    LOOK_UP_ENCODERS,
    SCRATCH_ENCODERS,
    STATIC,
    Aggregation,
    ModelSettings,
    TokenPooling,
)
from longform.config.pretraining import PretrainingSettings
from longform.config.segments import CleaningStep, SegmentSettings
from longform.config.settings import RunConfig
from longform.config.training import OptimizationSettings, TrainingSettings

__all__ = [
    "ALIASES",
    "LINEAR",
    "LOOK_UP_ENCODERS",
    "SCRATCH_ENCODERS",
    "STATIC",
    "Aggregation",
    "AugmentationSettings",
    "AugmentationStep",
    "CleaningStep",
    "DataSettings",
    "DistillationSettings",
    "LinearSettings",
    "ModelSettings",
    "OptimizationSettings",
    "PretrainingSettings",
    "ProblemType",
    "RunConfig",
    "SegmentSettings",
    "TokenPooling",
    "TrainingSettings",
    "load_config",
    "load_settings",
    "parse_assignments",
    "read_settings",
]
