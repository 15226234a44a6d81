"""All hashes of 64 bits that differ in few bits, found exactly, without comparing each with each.

In: uint64 arrays. Out: positions of the pairs. Where at most r bits differ, one of any r + 1 bands of bits is the same
in both (the pigeonhole principle): only hashes that share a band are compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_BITS = 64
_BLOCK = 1 << 18
"""Pairs compared at once: what the processor's cache holds."""


class Neighbours:
    """Hashes, sorted by each band once."""

    def __init__(self, hashes: np.ndarray, bits: int) -> None:
        """Sorts them.

        Args:
            hashes: uint64 (n,).
            bits: In how many a neighbour may differ.
        """
        self._bits = bits
        self._width = min(16, _BITS // (bits + 1))
        self._bands: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for band in range(bits + 1):
            order, edges = self._sorted(hashes, band)
            self._bands.append((hashes[order], order.astype(np.int32), edges))

    def of(self, queries: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Pairs with these, in blocks: positions of the query and of the neighbour, and the bits in which they differ.

        Args:
            queries: uint64 (m,).
        """
        for band, (hashes, order, edges) in enumerate(self._bands):
            asked, starts = self._sorted(queries, band)
            for key in np.flatnonzero((np.diff(starts) > 0) & (np.diff(edges) > 0)):
                there = hashes[edges[key] : edges[key + 1]]
                step = max(1, _BLOCK // len(there))
                for first in range(starts[key], starts[key + 1], step):
                    here = asked[first : min(first + step, starts[key + 1])]
                    differing = queries[here, None] ^ there
                    distance = np.bitwise_count(differing)
                    hit = np.flatnonzero(distance.ravel() <= self._bits)
                    if not len(hit):
                        continue
                    # a pair that an earlier band shows as well has been given there
                    hit = hit[~self._seen(differing.ravel()[hit], band)]
                    query, neighbour = np.divmod(hit, len(there))
                    yield here[query], order[edges[key] + neighbour], distance.ravel()[hit]

    def _sorted(self, hashes: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
        """The order by a band, and where each of its values begins in it."""
        keys = self._band(hashes, band).astype(np.int64)
        edges = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << self._width))])
        return np.argsort(keys, kind="stable"), edges

    def _band(self, hashes: np.ndarray, band: int) -> np.ndarray:
        found: np.ndarray = (hashes >> np.uint64(band * self._width)) & np.uint64((1 << self._width) - 1)
        return found

    def _seen(self, differing: np.ndarray, band: int) -> np.ndarray:
        seen = np.zeros(len(differing), bool)
        for earlier in range(band):
            seen |= self._band(differing, earlier) == 0
        return seen
