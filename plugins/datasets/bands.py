"""An index of MinHash signatures by their bands, in twelve bytes a band: datasketch's own needs some hundreds."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasketch import MinHash


class Bands:
    """Finds what is probably as alike as `threshold` says, and alike in something else altogether: what has this, and a
    band of its signature, in common.
    """

    def __init__(self, threshold: float, entries: Iterable[tuple[int, MinHash | None, bytes]]) -> None:
        """Args: entries: number, signature (None for what is like nothing), and what else has to be the same."""
        import numpy as np

        self._threshold = threshold
        self._shape: tuple[int, int] | None = None  # how many bands there are, and how many values one has
        keys, numbers = bytearray(), bytearray()
        for number, signature, same in entries:
            found = self._keys(signature, same)
            keys += found
            numbers += np.full(len(found) // 8, number, np.int32).tobytes()
        unordered = np.frombuffer(bytes(keys), np.uint64)
        order = np.argsort(unordered, kind="stable")
        self._sorted = unordered[order]
        self._numbers = np.frombuffer(bytes(numbers), np.int32)[order]

    def candidates(self, signature: MinHash | None, same: bytes) -> set[int]:
        """The numbers of those that share a band with `signature`, and `same`."""
        import numpy as np

        keys = np.frombuffer(self._keys(signature, same), np.uint64)
        begins = np.searchsorted(self._sorted, keys, "left")
        ends = np.searchsorted(self._sorted, keys, "right")
        return {int(n) for begin, end in zip(begins, ends, strict=True) for n in self._numbers[begin:end]}

    def _keys(self, signature: MinHash | None, same: bytes) -> bytes:
        """Eight bytes for each band: which it is, what is in it, and `same`."""
        if signature is None:
            return b""
        values = signature.hashvalues
        if self._shape is None:
            from datasketch import MinHashLSH

            best = MinHashLSH(threshold=self._threshold, num_perm=len(values))
            self._shape = best.b, best.r
        bands, width = self._shape
        parts = (values[band * width : (band + 1) * width].tobytes() for band in range(bands))
        return b"".join(
            blake2b(part, digest_size=8, key=same, salt=number.to_bytes(2, "big")).digest()
            for number, part in enumerate(parts)
        )
