"""What may vary in an exported graph, and how far: windows in a batch, rows and columns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vidpred.types import Task

MAX_BATCH = 1024
"""Windows at once, at the most, where the batch may vary."""
MAX_SIDE = 2048
"""Rows or columns, at the most, where the size may vary."""
_SMALL = 32
"""The least side of a graph that takes any size; less where the task's own frames are smaller."""
_EXAMPLE = (3, 5, 7)
"""Batch, and rows and columns as multiples of half of the least side, that a graph is captured at: such as nothing else
in it has, so that a number that got stuck would be noticed at other sizes."""


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest of what an exported graph takes; both are the same where it is fixed."""

    batch: tuple[int, int]
    """Windows at once."""
    height: tuple[int, int]
    """Rows of a frame."""
    width: tuple[int, int]
    """Columns of a frame."""
    multiple: int = 1
    """Of which rows and columns must be multiples, where they may vary."""

    @classmethod
    def static(cls, task: Task) -> Bounds:
        """One window of the task's size."""
        return cls((1, 1), (task.height, task.height), (task.width, task.width))

    @classmethod
    def any_batch(cls, task: Task) -> Bounds:
        """Any number of windows of the task's size."""
        return replace(cls.static(task), batch=(1, MAX_BATCH))

    @classmethod
    def any_size(cls, task: Task, multiple: int) -> Bounds:
        """Any number of windows of any size that is a multiple of this."""
        # two multiples at the least: with one, torch.export takes the side for the number 1
        low = max(2 * multiple, min(_SMALL, task.height, task.width) // multiple * multiple)
        sides = (low, MAX_SIDE // multiple * multiple)
        return cls((1, MAX_BATCH), sides, sides, multiple)

    def holds(self, task: Task) -> bool:
        """Whether the task's own size is one of those."""
        return all(
            low <= side <= high and side % self.multiple == 0
            for side, (low, high) in ((task.height, self.height), (task.width, self.width))
        )

    @property
    def varying_batch(self) -> bool:
        """Whether the batch may vary."""
        return self.batch[0] != self.batch[1]

    @property
    def varying_size(self) -> bool:
        """Whether rows and columns may vary."""
        return self.height[0] != self.height[1]

    @property
    def example(self) -> tuple[int, int, int]:
        """Batch, rows and columns that a graph is captured at."""
        batch = _EXAMPLE[0] if self.varying_batch else self.batch[0]
        if not self.varying_size:
            return batch, self.height[0], self.width[0]
        step = -(-self.height[0] // (2 * self.multiple)) * self.multiple
        return batch, _EXAMPLE[1] * step, _EXAMPLE[2] * step

    def tried(self, task: Task) -> list[tuple[int, int, int]]:
        """Batches, rows and columns at which a graph is held against the original: the task's, the smallest, others."""
        height, width = task.height, task.width
        if not self.varying_size:
            return [(batch, height, width) for batch in ((1, 4, 7) if self.varying_batch else (1,))]
        low, step = self.height[0], self.multiple
        more = max(1, 16 // step) * step
        sizes = [(height, width), (low, low), (low + 3 * step, low + step), (height + more, width + 3 * more)]
        return [(batch, *size) for batch, size in zip((1, 4, 2, 1), sizes, strict=True)] + [(7, height, width)]

    def told(self) -> str:
        """In words."""
        batch = f"{self.batch[0]} … {self.batch[1]} windows" if self.varying_batch else "1 window"
        if not self.varying_size:
            return f"{batch} of {self.height[0]}x{self.width[0]}"
        every = f", multiples of {self.multiple}" if self.multiple > 1 else ""
        return f"{batch}, height and width {self.height[0]} … {self.height[1]}{every}"

    def as_json(self) -> dict[str, list[int] | int]:
        """Lowest and highest by name, for the file's metadata."""
        return {
            "batch": list(self.batch),
            "height": list(self.height),
            "width": list(self.width),
            "multiple": self.multiple,
        }
