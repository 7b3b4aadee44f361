"""Work side by side, and its results as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def as_they_come(pool: Executor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`work` of every item, in the order in which it is done. Whoever stops listening has what was not begun called
    off. Raises what `work` raises.
    """
    waiting = [pool.submit(work, item) for item in items]
    try:
        for done in as_completed(waiting):
            yield done.result()
    finally:
        for future in waiting:
            future.cancel()
