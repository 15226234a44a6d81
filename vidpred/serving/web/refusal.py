"""Answers that are no: one shape for all of them, `{"code": …, "detail": …}`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse


class Refusal(Exception):
    """A request that gets no for an answer."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        """Takes what the answer says.

        Args:
            status: Of HTTP.
            code: A word for programs.
            detail: A sentence for people.
            headers: Of the answer.
        """
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse({"code": self.code, "detail": self.detail}, self.status, self.headers)
