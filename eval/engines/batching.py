"""Batches of what a model in this process is asked: made, run, and halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ready(make: Callable[..., T], *columns: Sequence[Any]) -> tuple[list[T], dict[int, str]]:
    """``make(place, *row)`` of every row of the columns; and, by place, why that failed for the others."""
    made, failed = [], {}
    for place, row in enumerate(zip(*columns, strict=True)):
        try:
            made.append(make(place, *row))
        except Exception as exc:  # a template may raise anything at all
            failed[place] = _said(exc)
    return made, failed


def batches(items: Iterable[T], fits: Callable[[Sequence[T]], bool]) -> Iterator[list[T]]:
    """Items in their order, as many together as `fits`; one alone is always let through."""
    batch: list[T] = []
    for item in items:
        if batch and not fits([*batch, item]):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def halved(batch: Sequence[T], run: Callable[[Sequence[T]], Sequence[R]]) -> list[R | str]:
    """What `run` gives for each of a batch. Where it raises, mostly because memory ran out, the batch is halved, until
    one item alone fails: for that one the list says why, and the others count.
    """
    import torch

    try:
        return list(run(batch))
    except Exception as exc:  # kept as a text: the exception holds on to what takes the memory
        error = _said(exc)
    if len(batch) == 1:
        return [error]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(batch) // 2
    return [*halved(batch[:half], run), *halved(batch[half:], run)]


def _said(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
