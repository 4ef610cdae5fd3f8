"""How fast a model has been of late, and what follows from it: sizes of batches and of queues."""

from __future__ import annotations

import time

_KEPT = 0.9
"""What is kept of earlier measurements as a new one comes in."""
_KEPT_SHORT = 0.8
"""The same for the share of short requests: four in a row are noticed."""
_LEAST_BUDGET = 64
"""Tokens that a batch may always have, however slow the device."""
_CONTENTION_SECONDS = 10.0
"""How long batches stay short after two requests were here at once."""
_MOSTLY = 0.5
"""Share of short requests, among those that came of late, for whose sake batches are short."""
_SHORT_SHARE = 16
"""A request is short where so many of it fill the largest batch."""
_QUEUE_SECONDS = 30.0
"""What may wait, as time of the encoder, where the user set no limit."""
_LEAST_QUEUED_TOKENS = 2**20
"""Ten documents of 100,000 tokens."""


class Pace:
    """Running means of tokens per second and per character.

    Args:
        max_batch_tokens: Most tokens of a batch.
        max_batch_seconds: Most time of a batch while short requests come.
    """

    def __init__(self, max_batch_tokens: int, max_batch_seconds: float) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_seconds = max_batch_seconds
        self._short_budget = float(max_batch_tokens)
        self._tokens = self._seconds = 0.0
        self._tokens_per_character = 1.0
        self._contended_until = self._short_share = 0.0

    @property
    def tokens_per_second(self) -> float:
        """0 before the first batch."""
        return self._tokens / self._seconds if self._seconds else 0.0

    @property
    def most_queued_tokens(self) -> int:
        """Tokens that are encoded in half a minute, a million at least."""
        return max(int(_QUEUE_SECONDS * self.tokens_per_second), _LEAST_QUEUED_TOKENS)

    def seconds_for(self, tokens: int) -> float:
        """Expect the time that tokens take; 0 before the first batch."""
        pace = self.tokens_per_second
        return tokens / pace if pace else 0.0

    def estimate_tokens(self, characters: int) -> int:
        """Expect the tokens of a text."""
        return int(characters * self._tokens_per_character) + 1

    def learn(self, tokens: int, seconds: float) -> None:
        """Take in a batch; one that came from the cache teaches nothing."""
        if not tokens or seconds <= 0:
            return
        # Sums, so that a small batch, which is mostly overhead, weighs little.
        self._tokens = _KEPT * self._tokens + tokens
        self._seconds = _KEPT * self._seconds + seconds
        if tokens >= self._short_budget / 2:
            # Half to twice at a step: one odd batch must not decide.
            fitting = tokens * self._max_batch_seconds / seconds
            fitting = min(max(fitting, 0.5 * self._short_budget), 2 * self._short_budget)
            self._short_budget = min(max(fitting, _LEAST_BUDGET), self._max_batch_tokens)

    def learn_density(self, characters: int, tokens: int) -> None:
        """Take in a text that was cut."""
        if characters and tokens:
            kept = _KEPT * self._tokens_per_character
            self._tokens_per_character = kept + (1 - _KEPT) * tokens / characters

    def note_arrival(self, tokens: int, requests: int) -> None:
        """Take in a request that was cut.

        Args:
            tokens: Of the request.
            requests: How many are here with it.
        """
        is_short = tokens <= self._max_batch_tokens / _SHORT_SHARE
        self._short_share = _KEPT_SHORT * self._short_share + (1 - _KEPT_SHORT) * is_short
        if requests > 1:
            self._contended_until = time.monotonic() + _CONTENTION_SECONDS

    def budget(self) -> int:
        """Return the tokens of the next batch.

        Small batches cost a tenth of the throughput. They are worth it where most requests are
        themselves smaller than a batch and others are here with them: then no batch may hold up
        the next one by more than its time, since those that come find one that has begun.
        """
        if self._short_share < _MOSTLY or time.monotonic() > self._contended_until:
            return self._max_batch_tokens
        return int(self._short_budget)
