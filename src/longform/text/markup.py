"""Cleaning steps that take out what a browser or mail program would not show as text.

Every pattern here stops at the next character that can begin a match, so that the work is linear
in the length of the text, whatever the text is.
"""

from __future__ import annotations

import html
import re
import string

from longform.text.alignment import Edit, Edited, apply_edits

_TAGS = {
    "\n": """address article aside blockquote body br caption center dd details dialog dir div dl dt
    fieldset figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 head header hr html legend li
    main menu nav noscript ol optgroup option p pre section select summary table tbody template
    textarea tfoot thead title tr ul""",
    " ": "td th",
    "": """a abbr acronym applet area audio b base basefont bdi bdo big button canvas cite code col
    colgroup data datalist del dfn em embed font frame i iframe img input ins kbd label link map
    mark meta meter noframes object output param picture progress q rp rt ruby s samp script slot
    small source span strike strong style sub sup svg time track tt u var video wbr""",
}
_REPLACEMENT_OF_TAG = {name: shown for shown, names in _TAGS.items() for name in names.split()}
_HIDDEN_END = {
    name: re.compile(rf"</{name}\s*+>", re.IGNORECASE | re.ASCII) for name in ("script", "style")
}
_COMMENT_END = re.compile("-->")

# Attributes: with quotes that close, where a `>` may stand inside them, else up to the next `>`.
_QUOTED = r"""[^<>"']*+(?:"[^"<]*+"[^<>"']*+|'[^'<]*+'[^<>"']*+)*+"""
_MARKUP = re.compile(
    r"[<&](?:(?<=<)(?:!(?P<comment>--)"
    rf"|(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9:]*+)(?P<attributes>[\s/](?:{_QUOTED}|[^<>]*+))?>"
    r"|(?P<declaration>[!?](?:[A-Za-z]|\[(?:end)?if\b)[^<>]*+)>)"
    r"|(?<=&)(?P<entity>\#[0-9]{1,7}|\#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)",
    re.ASCII,
)

_ADDRESS = re.compile(
    # One class of characters comes first, which `re` looks for fastest.
    r"[hHfFwW@](?:(?:(?<=h)ttps?|(?<=H)(?:TTPS?|ttps?)|(?<=f)tp|(?<=F)(?:TP|tp))://[A-Za-z0-9\[]"
    r"|(?<=[wW])(?<![A-Za-z0-9._@/\-].)[wW]{2}\.[A-Za-z0-9]"
    r"|(?<=@)(?P<domain>[A-Za-z0-9\-]++(?:\.[A-Za-z0-9\-]++)++))"
    # What RFC 3986 allows in an address; it ends where Chinese text goes on.
    r"(?(domain)|[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*+)",
    re.ASCII,
)
_MAIL_NAME = frozenset("._%+-" + string.ascii_letters + string.digits)
_SENTENCE_MARKS = ".,;:!?'\")]}"


def remove_html(text: str) -> Edited | None:
    """Take out HTML: what is not shown vanishes, entities become their characters.

    Comments and the content of `script` and `style` vanish with their tags. A tag of a block
    becomes a line feed, one of a table cell a blank (or the words of two cells would be one),
    any other nothing. Only names of HTML, and those with a namespace (`o:p`), make a tag, and
    one of a single letter must have no attributes or some with a value: so `a < b`, `a<b and c>d`,
    `<name>` and `<me@example.org>` stay. A comment or script that never ends stays but for its
    tag. An entity needs its `;`, or `?a=1&copy=2` would change.
    """
    if "<" not in text and "&" not in text:
        return None
    edits: list[Edit] = []
    unclosed: set[str] = set()
    match = _MARKUP.search(text)
    while match is not None:
        edit = _edit_of(text, match, unclosed)
        if edit is not None:
            edits.append(edit)
        match = _MARKUP.search(text, match.end() if edit is None else edit[1])
    return apply_edits(text, edits)


def _edit_of(text: str, match: re.Match[str], unclosed: set[str]) -> Edit | None:
    start, end = match.span()
    if match["entity"] is not None:
        character = html.unescape(match[0])
        return None if character == match[0] else (start, end, character)
    if match["comment"] is not None:
        hidden = _find_end(_COMMENT_END, text, end, unclosed)
        return None if hidden is None else (start, hidden, "")
    if match["declaration"] is not None:
        return start, end, ""
    name, attributes = match["name"].lower(), (match["attributes"] or "").strip(" \t\r\n/")
    if len(name) == 1 and attributes and "=" not in attributes:
        return None
    if name in _HIDDEN_END and not match["close"] and not text.endswith("/>", start, end):
        hidden = _find_end(_HIDDEN_END[name], text, end, unclosed)
        return start, end if hidden is None else hidden, ""
    if ":" in name and not name.endswith(":"):
        return start, end, ""
    shown = _REPLACEMENT_OF_TAG.get(name)
    return None if shown is None else (start, end, shown)


def _find_end(pattern: re.Pattern[str], text: str, start: int, unclosed: set[str]) -> int | None:
    """Return where the hidden part ends; one search that fails is the last of its kind."""
    if pattern.pattern in unclosed:
        return None
    found = pattern.search(text, start)
    if found is None:
        unclosed.add(pattern.pattern)
        return None
    return found.end()


def remove_addresses(text: str) -> Edited | None:
    """Make one blank of each web address (http, https, ftp, `www.`) and each e-mail address.

    Marks that end a sentence or close a bracket after it stay. An address ends at the first
    character that is not ASCII: in Chinese, text follows it without a blank.
    """
    if not any(mark in text for mark in ("://", "@", "www.", "WWW.", "Www.")):
        return None
    edits: list[Edit] = []
    for match in _ADDRESS.finditer(text):
        address = match[0].rstrip(_SENTENCE_MARKS)
        start, end = match.start(), match.start() + len(address)
        if match["domain"] is not None:
            start = _start_of_mail(text, start, edits[-1][1] if edits else 0)
            if start == match.start():
                continue
        edits.append((start, end, " "))
    return apply_edits(text, edits)


def _start_of_mail(text: str, sign: int, least: int) -> int:
    """Return where the e-mail address with its `@` at `sign` begins, not before `least`."""
    start = sign
    while start > least and text[start - 1] in _MAIL_NAME:
        start -= 1
    if start < sign and start - len("mailto:") >= least and text.endswith("mailto:", 0, start):
        start -= len("mailto:")
    return start
