"""What a person is told of a request that makes no sense: plain sentences in place of those of the libraries.

In: what FastAPI and Starlette found. Out: a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LONGEST = 1000
_SHOWN = 60
"""Characters of what was sent that are said again."""


def of_fields(errors: Sequence[Mapping[str, Any]], path: str) -> str:
    """Fields that are missing, or whose values cannot be.

    Args:
        errors: Of a `RequestValidationError`.
        path: That was asked for, such as `/api/predict`.
    """
    return "; ".join(_of_field(one, path) for one in errors)[:_LONGEST]


def _of_field(error: Mapping[str, Any], path: str) -> str:
    name = ".".join(str(part) for part in error["loc"][1:]) or "body"
    if name == "file":
        return f"no clip came along: send one as the form field `file`, such as `curl -F file=@cat.gif URL{path}`"
    if error["type"] == "missing":
        place = "parameter" if error["loc"][0] == "query" else "form field"
        return f"the {place} `{name}` is missing"
    limits, sent = error.get("ctx") or {}, str(error.get("input"))
    wanted = {
        "int_parsing": "be a whole number",
        "bool_parsing": "be `true` or `false`",
        "greater_than_equal": f"be {limits.get('ge')} or more",
        "less_than_equal": f"be {limits.get('le')} or less",
        "literal_error": f"be one of {limits.get('expected')}",
        "string_too_long": f"have at most {limits.get('max_length')} characters",
    }.get(error["type"])
    if wanted is None:
        return f"`{name}` makes no sense: {error['msg']}"
    given = f", and {sent[:_SHOWN]!r} was given" if len(sent) <= _SHOWN and sent.isprintable() else ""
    return f"`{name}` has to {wanted}{given}"


def of_request(status: int, detail: str, *, method: str, allowed: str = "") -> str:
    """A request that no route answers, or that cannot be read.

    Args:
        status: Of HTTP.
        detail: Starlette's words.
        method: Of the request.
        allowed: The methods that the address knows.
    """
    if status == 404 and detail == "Not Found":
        return "there is nothing at this address: `/` is the page, `/openapi.json` describes the API"
    if status == 405:
        return f"this address takes no {method}" + (f": use {allowed}" if allowed else "")
    if status == 400 and detail == "There was an error parsing the body":
        return "the body cannot be read as a form: `curl -F file=@cat.gif …` makes one"
    return detail
