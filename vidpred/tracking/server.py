"""What a tracking server tells to whom: its version, and whether it wants to know who asks.

Single, cheap requests; a server that does not answer is told by `store.connect`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import httpx

_SEARCH = "/api/2.0/mlflow/experiments/search"
"""What every client asks first; a server that answers it to anybody answers everything."""


def answers_anybody(uri: str, *, seconds: float = 3) -> bool:
    """Whether a server answers without a name and a password; False also where it does not answer at all.

    Args:
        uri: http:// or https://.
        seconds: After which it does not answer.
    """
    try:
        answer = httpx.get(
            f"{without_password(uri).rstrip('/')}{_SEARCH}",
            params={"max_results": 1},
            headers={"Authorization": ""},  # nor one of ~/.netrc
            timeout=seconds,
            follow_redirects=False,  # to a page where one logs in
            verify=False,  # nothing secret is sent, one with its own certificate may be open too
        )
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    return answer.status_code == 200 and '"experiments"' in answer.text


def version(uri: str, *, seconds: float = 3) -> str | None:
    """The server's version, asked with our own credentials; None where it does not tell."""
    import requests
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    ask: Callable[..., requests.Response] = http_request
    credentials: Callable[[str], object] = get_default_host_creds
    try:
        answer = ask(credentials(uri), "/version", "GET", max_retries=0, timeout=seconds, raise_on_status=False)
    except (MlflowException, requests.RequestException, OSError):
        return None
    told = answer.text.strip()
    return told if answer.status_code == 200 and told[:1].isdigit() and len(told) < 40 else None


def holds_password(uri: str) -> bool:
    """Whether an address has a password in it."""
    return ":" in _user_part(uri)


def without_password(uri: str) -> str:
    """An address without name and password."""
    scheme, separator, rest = uri.partition("://")
    user = _user_part(uri)
    return f"{scheme}{separator}{rest.removeprefix(user + '@') if user else rest}"


def scheme_of(uri: str) -> Literal["http", "https", "other"]:
    """How a store is spoken with."""
    scheme = uri.partition("://")[0].lower()
    return "http" if scheme == "http" else "https" if scheme == "https" else "other"


def _user_part(uri: str) -> str:
    _, separator, rest = uri.partition("://")
    host = rest.split("/", 1)[0]
    return host.rpartition("@")[0] if separator else ""
