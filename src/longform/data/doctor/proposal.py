"""A configuration that fits the data, with the reason beside each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from longform.config import RunConfig
from longform.data.doctor.findings import Finding
from longform.data.doctor.lengths import Lengths
from longform.data.doctor.plans import choose_segment_length

_PATHS = ("data", "validation", "encoder")
_COLUMN = 32
_END = "...\n"
"""What YAML puts behind a value that stands alone."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Settings for a run on this data.

    Attributes:
        settings: All settings that differ from the defaults.
        reasons: Setting -> why, for those that the doctor chose.
    """

    settings: dict[str, Any]
    reasons: dict[str, str]

    def as_yaml(self) -> str:
        """Return the file for `longform train`, a reason behind each line that has one."""
        lines = []
        for key, value in self.settings.items():
            written = yaml.safe_dump(
                value, allow_unicode=True, default_flow_style=True, width=float("inf")
            )
            line = f"{key}: {written.removesuffix(_END).rstrip()}"
            reason = self.reasons.get(key)
            lines.append(f"{line:<{_COLUMN}}  # {reason}" if reason else line)
        return "\n".join(lines) + "\n"


def propose(config: RunConfig, findings: Sequence[Finding], lengths: Lengths) -> Proposal:
    """Join what the findings propose with what was set; nothing that was set is changed back.

    Args:
        config: The settings given, the paths of the data among them.
        findings: Whose proposals count, the first one for each setting.
        lengths: For the segment length.
    """
    settings = {
        key: value
        for key, value in config.model_dump(mode="json", exclude={"output_dir"}).items()
        if key in config.model_fields_set or key in _PATHS
    }
    settings = {key: value for key, value in settings.items() if value is not None}
    reasons: dict[str, str] = {}
    if "segment_length" not in config.model_fields_set:
        settings["segment_length"] = choose_segment_length(lengths.tokens.p90, config.encoder)
        reasons["segment_length"] = (
            f"median {lengths.tokens.median:,} tokens, 90 % under {lengths.tokens.p90:,}"
        )
    for finding in findings:
        for key, value in finding.proposes.items():
            given = key in config.model_fields_set and key != "cleaning"
            if not given and key not in reasons and value != getattr(config, key):
                settings[key] = value
                reasons[key] = f"{finding.kind.replace('_', ' ')}: {finding.amount}"
    # What is proposed must be accepted.
    RunConfig.model_validate(settings)
    order = [*_PATHS, *(key for key in RunConfig.model_fields if key not in _PATHS)]
    return Proposal({key: settings[key] for key in order if key in settings}, reasons)
