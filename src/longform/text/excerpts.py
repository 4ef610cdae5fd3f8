"""The beginning of a text, safe to show on one line."""

from __future__ import annotations

EXCERPT_CHARACTERS = 200
_READ_FOR_EXCERPT = 1_000


def make_excerpt(text: str) -> str:
    """Return the beginning of a text on one line.

    Controls, marks of writing direction and halves of characters become spaces: they could make a
    page show something else than what was read.
    """
    head = text.lstrip()[:_READ_FOR_EXCERPT]
    words = "".join(character if character.isprintable() else " " for character in head).split()
    line = " ".join(words)
    is_cut = len(line) > EXCERPT_CHARACTERS or len(text.lstrip()) > _READ_FOR_EXCERPT
    return line[:EXCERPT_CHARACTERS].rstrip() + ("…" if is_cut else "")
