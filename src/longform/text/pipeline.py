"""Work ahead of whoever takes the results, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_WORKERS = 2
"""One waits in native code while the other turns its results into arrays."""


def map_ahead(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Yield what `map` would, with the calls of the next few items under way already.

    This pays where the function leaves Python's lock, as a tokenizer does: items are then made
    and results used, both in the caller's thread, while it works. At most three calls are ahead,
    so that memory stays bounded. A single item is worked on in the caller's thread.

    Args:
        function: Called in other threads, for two items at a time.
        items: Taken in the caller's thread.
    """
    iterator = iter(items)
    first = list(islice(iterator, 2))
    if len(first) < 2:
        yield from map(function, first)
        return
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="longform-ahead") as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in chain(first, iterator):
                waiting.append(pool.submit(function, item))
                if len(waiting) > _WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever stops early does not wait for what was not begun.
            for future in waiting:
                future.cancel()
