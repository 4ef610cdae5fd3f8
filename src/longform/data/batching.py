"""Which documents of an epoch share a training batch, the same number on every process.

Everything follows from the seed and the number of the epoch, so that a run that is continued, and
every process of it, finds the same batches.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from longform.data.sampling import Probabilities, draw_documents
from longform.types import Floats, Integers

Batch = list[int]

_JITTERS = (0.2, 0.1, 0.05, 0.0)
"""How much chance moves a length before sorting, so that the company of a document changes from
epoch to epoch; less of it where it makes too many batches."""
_SPARE_BATCHES = 0.05
"""Share of batches that an epoch may have beyond the fewest, for that chance."""
_TRIAL_DRAWS = 4
_MEGABATCH = 50
"""Batches of documents among which lengths are sorted, as transformers' `LengthGroupedSampler`."""


@dataclass(frozen=True)
class BatchPlan:
    """The batches of all epochs.

    Attributes:
        sizes: int64 `[docs, 2]`: segments of each document, and tokens of its longest segment.
        seed: The same seed gives the same batches.
        batch_size: Documents of a batch, where there is no token budget. The processes divide a
            global batch of `batch_size * processes` documents by their cost, so that one process
            with the whole batch takes the same steps as several with their parts.
        token_budget: Most padded tokens of a batch: documents times most segments times most
            tokens. A larger document makes a batch of its own.
        probabilities: As `draw_documents` takes them.
        hard_share: As `draw_documents` takes it.
        processes: The number of batches of an epoch is a multiple of it. Batches that are due at
            the same time on several processes are of like cost.
        by_length: Put documents of like length together where there is no token budget: it spares
            padding, and chance the less.
    """

    sizes: Integers
    seed: int
    batch_size: int
    token_budget: int | None = None
    probabilities: Probabilities | None = None
    hard_share: float = 0.0
    processes: int = 1
    by_length: bool = False

    @cached_property
    def batches_per_epoch(self) -> int:
        """The same for every epoch, since schedules of learning rates count on it."""
        documents = len(self.sizes)
        if self.token_budget is None:
            return math.ceil(documents / (self.batch_size * self.processes)) * self.processes
        fewest = max(len(self._fill(draw, 0.0)) for draw in self._trial_draws())
        if fewest > 1:
            fewest = min(math.ceil(fewest * (1 + _SPARE_BATCHES)), documents)
        return math.ceil(fewest / self.processes) * self.processes

    def batches(self, epoch: int, losses: Floats | None = None) -> list[Batch]:
        """Return the batches of an epoch.

        That with the largest document comes first: if memory is short, it shows at once.

        Args:
            epoch: Number of the epoch, from 0.
            losses: float `[docs]`, as `draw_documents` takes them.

        Returns:
            `batches_per_epoch` lists of document numbers. Process `r` of `n` takes every `n`-th,
            from `r`. They hold what was drawn, each time it was drawn, once; where documents are
            fewer than processes, batches repeat. Where documents drawn with replacement are so
            long that they would make too many batches, the last drawn are left out.
        """
        generator = np.random.default_rng([self.seed, epoch])
        drawn = draw_documents(
            len(self.sizes), generator, self.probabilities, losses, self.hard_share
        )
        if self.token_budget is None:
            groups = [self._divide(whole) for whole in self._cut(drawn)]
        else:
            groups = self._pack_groups(drawn, generator)
        later = generator.permutation(len(groups) - 1) + 1
        return [batch for group in (0, *later.tolist()) for batch in groups[group]]

    def cost(self, batch: Sequence[int]) -> int:
        """Return the padded tokens of a batch."""
        return len(batch) * int(self.sizes[batch].max(axis=0).prod())

    def describe(self) -> str:
        """Return how batches are made, in one line for the user, by the first epoch."""
        batches = self.batches(0)
        drawn = np.array([document for batch in batches for document in batch])
        padded = sum(self.cost(batch) for batch in batches)
        real = int(self.sizes[drawn].prod(axis=1).sum())
        fewest, most = min(map(len, batches)), max(map(len, batches))
        text = (
            f"Batches: {self.batches_per_epoch:,} an epoch, of "
            f"{f'{fewest:,} to ' if fewest < most else ''}{most:,} documents, "
            f"{100 * (1 - real / padded):.1f} % padding"
        )
        if self.probabilities is not None:
            text += "; drawn so that all classes come equally often"
        if self.hard_share > 0:
            text += f"; from epoch 2 on, {100 * self.hard_share:.0f} % are drawn by their loss"
        if self.token_budget is not None:
            alone = int((self.sizes.prod(axis=1) > self.token_budget).sum())
            if alone:
                text += (
                    f"; {alone:,} documents are larger than train_batch_tokens "
                    f"({self.token_budget:,}) and make batches of their own"
                )
        return text + "."

    def _trial_draws(self) -> list[Integers]:
        """Return draws that the number of batches is found from."""
        if self.probabilities is None:
            return [np.arange(len(self.sizes))]
        generators = (np.random.default_rng([self.seed, trial]) for trial in range(_TRIAL_DRAWS))
        return [
            draw_documents(len(self.sizes), generator, self.probabilities)
            for generator in generators
        ]

    def _cut(self, drawn: Integers) -> list[Integers]:
        """Cut a draw into the batches of all processes together, that of the largest first."""
        cost = self.sizes.prod(axis=1)
        size = self.batch_size * self.processes
        if self.by_length:
            span = _MEGABATCH * size
            parts = [drawn[start : start + span] for start in range(0, len(drawn), span)]
            drawn = np.concatenate([part[np.argsort(-cost[part], kind="stable")] for part in parts])
        rest = len(drawn) % size
        starts = list(range(0, len(drawn), size))
        if 0 < rest < self.processes and len(starts) > 1:
            # The last batch needs a document for each process.
            starts[-1] = len(drawn) - self.processes
        wholes = np.split(drawn, starts[1:])
        return sorted(wholes, key=lambda whole: -int(cost[whole].max()))

    def _divide(self, whole: Integers) -> list[Batch]:
        """Divide a batch over the processes, the most costly document to the least burdened."""
        cost = self.sizes.prod(axis=1)
        parts: list[Batch] = [[] for _ in range(self.processes)]
        burden = [0] * self.processes
        # Where documents are fewer than processes, they come again.
        repeated = np.resize(whole, max(len(whole), self.processes))
        for document in repeated[np.argsort(-cost[repeated], kind="stable")].tolist():
            least = burden.index(min(burden))
            parts[least].append(document)
            burden[least] += int(cost[document])
        return parts

    def _pack_groups(self, drawn: Integers, generator: np.random.Generator) -> list[list[Batch]]:
        """Fill batches to the token budget, and group those that are due at the same time."""
        batches = self._pack(drawn, generator, self.batches_per_epoch)
        self._split(batches, self.batches_per_epoch)
        ordered = sorted(batches, key=self.cost, reverse=True)
        return [
            ordered[start : start + self.processes]
            for start in range(0, len(ordered), self.processes)
        ]

    def _pack(self, drawn: Integers, generator: np.random.Generator, most: int) -> list[Batch]:
        """Cut a draw into at most `most` batches within the token budget."""
        noise = generator.uniform(-1, 1, len(drawn))
        for jitter in _JITTERS:
            batches = self._fill(drawn, jitter, noise)
            if len(batches) <= most:
                return batches
        low, high = 1, len(drawn)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._fill(drawn[:middle], 0.0)) <= most:
                low = middle
            else:
                high = middle - 1
        return self._fill(drawn[:low], 0.0)

    def _fill(
        self, drawn: Integers, jitter: float, noise: Probabilities | None = None
    ) -> list[Batch]:
        """Fill batches to the token budget, longest documents first."""
        assert self.token_budget is not None
        key = self.sizes[drawn].prod(axis=1).astype(np.float64)
        if noise is not None:
            key *= 1 + jitter * noise
        ordered = drawn[np.argsort(-key, kind="stable")]
        batches: list[Batch] = []
        most_segments = most_tokens = 0
        for document, (segments, tokens) in zip(
            ordered.tolist(), self.sizes[ordered].tolist(), strict=True
        ):
            most_segments = max(most_segments, segments)
            most_tokens = max(most_tokens, tokens)
            full = not batches or (
                (len(batches[-1]) + 1) * most_segments * most_tokens > self.token_budget
            )
            if full:
                batches.append([])
                most_segments, most_tokens = segments, tokens
            batches[-1].append(document)
        return batches

    def _split(self, batches: list[Batch], count: int) -> None:
        """Halve the most costly batches until there are `count`, or repeat single documents."""
        heap = [(-self.cost(batch), place) for place, batch in enumerate(batches) if len(batch) > 1]
        heapq.heapify(heap)
        singles = len(batches)
        while len(batches) < count:
            if not heap:
                batches.append(list(batches[len(batches) % singles]))
                continue
            _, place = heapq.heappop(heap)
            whole = batches[place]
            middle = len(whole) // 2
            batches[place] = whole[:middle]
            batches.append(whole[middle:])
            for half in (place, len(batches) - 1):
                if len(batches[half]) > 1:
                    heapq.heappush(heap, (-self.cost(batches[half]), half))
            singles = len(batches)
