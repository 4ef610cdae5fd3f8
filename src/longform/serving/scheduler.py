"""Which segments go to the encoder next: weighted deficit round-robin over the waiting requests.

Every request has turns; in a turn it may hand in segments up to its quantum of tokens, what it
does not use stays its credit while it waits (M. Shreedhar, G. Varghese, Efficient Fair Queuing
using Deficit Round Robin, SIGCOMM 1995). Requests that are new have their first turn before the
others, every second batch at most (after the new flows of RFC 8290, FQ-CoDel). So a document of
hundreds of segments costs a short one the time of a batch, not of the document, and however many
short ones come, it goes on. Knows no threads and no clocks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from longform.serving.jobs import Job, Weight
from longform.types import Segment


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One segment of a batch and whose it is."""

    job: Job
    document: int
    index: int
    segment: Segment


class SegmentScheduler:
    """The waiting requests and their turns.

    Args:
        quantum: Tokens that a request of normal weight may hand in at a turn: a full segment at
            least, so that each turn moves every request.
    """

    def __init__(self, quantum: int) -> None:
        self._quantum = quantum
        self._turns: deque[Job] = deque()
        self._new: list[Job] = []
        self._credit: dict[Job, int] = {}
        self._new_went_first = False

    def __len__(self) -> int:
        return len(self._credit)

    def __contains__(self, job: Job) -> bool:
        return job in self._credit

    @property
    def jobs(self) -> list[Job]:
        """The requests with segments left to encode, in the order of their turns."""
        return [*self._new, *self._turns]

    def add(self, job: Job) -> None:
        """Let a request wait for its first turn."""
        self._credit[job] = 0
        self._new.append(job)

    def remove(self, job: Job) -> bool:
        """Let a request wait no longer; return whether it did."""
        if self._credit.pop(job, None) is None:
            return False
        (self._new if job in self._new else self._turns).remove(job)
        return True

    def take(self, token_budget: int, most_tokens: int = 0) -> list[BatchItem]:
        """Choose the segments of the next batch.

        Args:
            token_budget: Most tokens; one segment is taken even where it has more.
            most_tokens: The request whose turn is first may have so many, where that finishes it:
                two batches for what nearly fits in one would cost it another round.

        Returns:
            Segments of the requests in turn; empty when none waits.
        """
        self._let_new_ones_in()
        batch: list[BatchItem] = []
        left = token_budget
        while self._turns:
            job, before = self._turns[0], len(batch)
            turn = min(self._quantum, token_budget) * job.options.weight // Weight.NORMAL
            self._credit[job] += turn
            if not batch and job.tokens <= most_tokens:
                left = max(left, job.tokens)
                self._credit[job] = max(self._credit[job], job.tokens)
            left, has_fitted = self._hand_in(job, batch, left)
            if job.next_segment() is None:
                self._turns.popleft()
                del self._credit[job]
                continue
            if has_fitted:
                self._turns.rotate(-1)
                continue
            if len(batch) > before:
                # The batch was too small for its turn; it does not go on in the next one.
                self._credit[job] = 0
                self._turns.rotate(-1)
            else:
                # Its turn comes first in the next batch.
                self._credit[job] -= turn
            break
        return batch

    def _let_new_ones_in(self) -> None:
        """Put new requests before the others, or every second time behind them."""
        if not self._new:
            return
        self._new_went_first = not self._new_went_first
        if self._new_went_first:
            self._turns.extendleft(reversed(self._new))
        else:
            self._turns.extend(self._new)
        self._new.clear()

    def _hand_in(self, job: Job, batch: list[BatchItem], left: int) -> tuple[int, bool]:
        """Take segments of one request within its credit; tell whether the batch had room."""
        while (following := job.next_segment()) is not None:
            document, index, segment = following
            cost = len(segment.token_ids)
            if cost > left and batch:
                return left, False
            if cost > self._credit[job]:
                return left, True
            job.take()
            self._credit[job] -= cost
            left -= cost
            batch.append(BatchItem(job, document, index, segment))
        return left, True
