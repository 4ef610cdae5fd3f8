"""The events that a profiler recorded, reduced to the time of each range and operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from longform.training.profile_summary import RANGES, WHOLE, Operator, ProfileSummary

_OPERATORS = 10


def summarize(profiler: Any, documents: int) -> ProfileSummary:
    """Reduce what a profiler recorded to a table.

    Args:
        profiler: A `torch.profiler.profile` that has recorded steps with the names of `RANGES`.
        documents: Read in those steps.
    """
    events = profiler.events()
    marks = [event for event in events if event.name.startswith("ProfilerStep")]
    on_host = [mark for mark in marks if str(mark.device_type).endswith("CPU")] or marks
    averages = profiler.key_averages()
    has_device = any(item.self_device_time_total > 0 for item in averages)
    kind = "device" if has_device else "cpu"
    operators = [
        Operator(
            item.key,
            getattr(item, f"self_{kind}_time_total") / 1e3,
            int(item.count),
            int(getattr(item, f"self_{kind}_memory_usage")),
        )
        for item in averages
        if item.key not in RANGES and not item.key.startswith(("ProfilerStep", "Optimizer."))
    ]
    operators.sort(key=lambda operator: -operator.milliseconds)
    return ProfileSummary(
        steps=len(on_host),
        seconds=sum(mark.time_range.elapsed_us() for mark in on_host) / 1e6,
        documents=documents,
        flops=float(sum(item.flops for item in averages)),
        ranges=_own_seconds([event for event in events if event.name in RANGES]),
        operators=tuple(operators[:_OPERATORS]),
        clock="device" if has_device else "CPU",
    )


def _own_seconds(events: Sequence[Any]) -> dict[str, float]:
    """Return the seconds of each range on the host, less those of the ranges inside it."""
    own: dict[str, float] = {}
    open_events: list[Any] = []
    hosted = [event for event in events if str(event.device_type).endswith("CPU")]
    # Of two that begin together, the longer one is around the other.
    hosted.sort(key=lambda event: (event.thread, event.time_range.start, -event.time_range.end))
    for event in hosted:
        while open_events and (
            open_events[-1].thread != event.thread
            or open_events[-1].time_range.end <= event.time_range.start
        ):
            open_events.pop()
        if any(around.name in WHOLE for around in open_events):
            continue
        seconds = event.time_range.elapsed_us() / 1e6
        own[event.name] = own.get(event.name, 0.0) + seconds
        if open_events:
            own[open_events[-1].name] -= seconds
        open_events.append(event)
    return {name: own[name] for name in RANGES if name in own}
