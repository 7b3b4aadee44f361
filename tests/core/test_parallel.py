"""Work side by side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from agentlora.core.parallel import as_they_come


def test_results_come_when_they_are_there() -> None:
    slow = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            slow.wait()
        return number

    with ThreadPoolExecutor(max_workers=2) as pool:
        arriving = as_they_come(pool, work, range(5))
        assert sorted(next(arriving) for _ in range(4)) == [1, 2, 3, 4]
        slow.set()
        assert list(arriving) == [0]


def test_who_stops_listening_calls_the_rest_off() -> None:
    begun: list[int] = []
    held = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            held.wait()

    with ThreadPoolExecutor(max_workers=1) as pool:
        arriving = as_they_come(pool, work, range(50))
        next(arriving)
        arriving.close()  # type: ignore[attr-defined]  # it is a generator
        held.set()
    assert max(begun) <= 1
