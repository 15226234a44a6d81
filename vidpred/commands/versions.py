"""Versions that `vidpred doctor` warns of: outside of what this package is made for, or known to be open to attack.

In: what is installed, the ffmpeg in use, what a server says of itself. Out: findings with what to do.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from vidpred.commands.findings import Finding

OLDEST_FFMPEG = Version("5.1")
"""The oldest that the tests have seen: Debian's of 2023. Decoders are where hostile files attack."""


class Hole(NamedTuple):
    """A known way in."""

    package: str
    fixed: Version
    """The first version without it."""
    name: str
    what: str


HOLES = (
    Hole(
        "mlflow",
        Version("3.5.0"),
        "no check of the Host header",
        "a web page can speak with a server behind a firewall",
    ),
    Hole("mlflow", Version("3.10.0"), "CVE-2026-2652", "basic-auth leaves the job API and trace ingestion open"),
    Hole("ray", Version("2.52.0"), "CVE-2023-48022", "there is no token: whoever reaches a cluster runs code on it"),
    Hole("ray", Version("2.54.0"), "CVE-2026-27482", "a web page can delete jobs through the dashboard"),
)
"""From the vendors' notes and the advisories of these names."""


def outside_ranges(requirements: Iterable[str]) -> Iterator[Finding]:
    """A finding for each package that is older or newer than required; the older ones fail.

    Args:
        requirements: As `importlib.metadata.requires` gives them.
    """
    for text in requirements:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = Version(importlib.metadata.version(wanted.name))
        except (importlib.metadata.PackageNotFoundError, InvalidVersion):
            continue  # what is missing is told of the lock file
        if wanted.specifier.contains(found, prereleases=True):
            continue
        floors = [Version(s.version) for s in wanted.specifier if s.operator in (">=", "==", "~=", ">")]
        older = bool(floors) and found < max(floors)
        why = known_holes(wanted.name, found)
        yield Finding(
            "fail" if older else "warn",
            wanted.name,
            f"{found} is {'older' if older else 'newer'} than vidpred is made for ({wanted.specifier})"
            f"{f'; {why}' if why else ''}: `pip install '{wanted.name}{wanted.specifier}'`",
        )


def known_holes(package: str, version: Version) -> str:
    """What is known to be open in a version, in words; empty where nothing is."""
    return "; ".join(f"{hole.name}: {hole.what}" for hole in HOLES if hole.package == package and version < hole.fixed)


def ffmpeg_findings(told: str) -> Iterator[Finding]:
    """A warning where an ffmpeg is older than what was tried.

    Args:
        told: Its version, as it says it: `7.0.2-static`, `n6.1`, `5.1.6-0+deb12u1`, or a commit, of which nothing is
            known.
    """
    match = re.match(r"n?(\d+\.\d+(?:\.\d+)?)", told)
    if match and Version(match[1]) < OLDEST_FFMPEG:
        yield Finding(
            "warn",
            "ffmpeg",
            f"{match[1]} is older than any that vidpred was tried with ({OLDEST_FFMPEG}), and decodes files of "
            "strangers: set transcode.ffmpeg: bundled, or install a newer one",
        )


def server_findings(told: str, where: str) -> Iterator[Finding]:
    """What is wrong with the version of an MLflow server.

    Args:
        told: As it says it.
        where: Its address, without a password.
    """
    try:
        found = Version(told)
    except InvalidVersion:
        return
    holes = known_holes("mlflow", found)
    if holes:
        yield Finding("warn", "MLflow", f"the server at {where} is {found}; {holes}: upgrade it")
        return
    asked = next((Requirement(r) for r in importlib.metadata.requires("vidpred") or () if r.startswith("mlflow")), None)
    if asked is not None and not asked.specifier.contains(found, prereleases=True):
        yield Finding(
            "warn", "MLflow", f"the server at {where} is {found}, vidpred is made for {asked.specifier}: upgrade it"
        )
