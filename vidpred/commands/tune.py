"""`vidpred tune --retry-failed`: whether there is something to try again, asked of the sweep's own record."""

from __future__ import annotations

from vidpred.cluster.guard import address_kind
from vidpred.tuning.ledger import Ledger
from vidpred.workspace import home, stage_key


def nothing_to_retry(address: str) -> str:
    """Why no trial is to be tried again, in a line; empty: some may be, or their record is not on this machine.

    Args:
        address: `RAY_ADDRESS`: of a sweep that runs as a job the record is elsewhere.

    Raises:
        UserError: the address or the record is not understood.
    """
    if address_kind(address.strip()) == "jobs":
        return ""
    entries = Ledger(home() / "tune" / stage_key("tune")).entries
    if not entries or any(entry.status == "failed" for entry in entries.values()):
        return ""
    whole = all(entry.status != "interrupted" and entry.status != "running" for entry in entries.values())
    rest = "" if whole else "; `vidpred tune` goes on with those that were interrupted"
    return f"none of this sweep's {len(entries)} trials has failed: nothing is tried again{rest}"
