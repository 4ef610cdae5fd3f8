"""The errors that a user can meet.

Each message has three parts: the rule that was broken, the value that was found, and the way out.
"""

from __future__ import annotations


class LongformError(Exception):
    """An expected failure, shown to the user as one paragraph and never as a traceback.

    Args:
        rule: What must hold, as a full sentence.
        found: What was found instead.
        fix: What the user can do about it.
    """

    exit_status = 1

    def __init__(self, rule: str, *, found: str = "", fix: str = "") -> None:
        self.rule = rule
        self.found = found
        self.fix = fix
        stop = "" if found.endswith((".", "?", "!")) else "."
        parts = [rule, f"Found: {found}{stop}" if found else "", fix]
        super().__init__(" ".join(part for part in parts if part))


class InputError(LongformError):
    """Bad usage or bad input: a file, a column, a flag, a text."""

    exit_status = 2


class ConfigError(InputError):
    """A configuration that cannot be used; all of its faults are reported together."""


class MissingExtraError(InputError):
    """An optional library is needed and not installed."""


class GateError(LongformError):
    """A check that guards users refused to let something pass."""

    exit_status = 3


class BundleError(GateError):
    """A bundle is damaged, incomplete, altered, or of a newer format."""


class ParityError(GateError):
    """An exported model does not give the answers of the trained one."""
