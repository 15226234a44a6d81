"""What may be set of the server, and the limits that hold for every upload."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one upload may take, and how many may be under way."""

    max_bytes: int = 20 * _MIB
    """Of an upload, all of its parts together."""
    max_pixels: int = 4096 * 2304
    """Of a frame of the source."""
    max_seconds: float = 30
    """Of a clip that are read, from its start."""
    max_source_frames: int = 1000
    """Of a clip that are read, from its start."""
    max_frames: int = 30
    """That may be asked for."""
    waiting: int = 32
    """Uploads under way at once; what comes beyond is told to come back."""
    upload_seconds: float = 30
    """That an upload may take to arrive."""
    read_seconds: float = 15
    """Wall time of ffmpeg over a clip."""
    stop_seconds: int = 30
    """That work under way gets when the server is told to stop."""


@dataclass(frozen=True)
class Settings:
    """All that `vidpred serve` is told."""

    models: tuple[str, ...]
    """As `FramePredictor.load` takes them: what people may choose from, the first unless they choose."""
    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    """Wanted of everybody; None: of nobody, which only loopback allows."""
    allow_hosts: tuple[str, ...] = ()
    """Names under which the server is reached, beside those of loopback; needed behind a proxy where there is no
    token."""
    poll_seconds: float = 30
    """Between looks for a new version."""
    device: str = "auto"
    threads: int | None = None
    """Of torch; None: one a core."""
    leaderboard: Path | None = None
    """A folder with leaderboard.csv; None: the page shows none."""
    limits: Limits = field(default_factory=Limits)

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
