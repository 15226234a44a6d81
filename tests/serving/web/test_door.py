"""Who comes in, and what browsers are told with every answer."""

from __future__ import annotations

import httpx
import pytest

from tests.serving.web.conftest import TOKEN, Make, upload


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/api/models", "/nowhere", "/healthz", "/login"])
def test_every_answer_has_its_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_the_page_asks_nobody_else(client: httpx.Client) -> None:
    for path in ("/", "/static/style.css", "/static/page.css", "/static/main.js", "/static/player.js", "/login"):
        text = client.get(path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
        assert "<script>" not in text
        assert " style=" not in text
        assert "innerHTML" not in text


def test_a_foreign_name_is_not_answered(make: Make) -> None:
    assert make(host="evil.example:8000").get("/api/models").json()["code"] == "host"
    for name in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert make(host=name).get("/api/models").status_code == 200
    allowed = make(host="Vidpred.example", allow_hosts=("vidpred.example",))
    assert allowed.get("/api/models").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_a_foreign_page_cannot_upload(client: httpx.Client, cat: bytes, headers: dict[str, str]) -> None:
    answer = client.post("/api/predict", files=upload(cat), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://127.0.0.1:8000"}, {}])
def test_our_own_page_and_programs_can(client: httpx.Client, cat: bytes, headers: dict[str, str]) -> None:
    assert client.post("/api/predict", files=upload(cat), headers=headers).status_code == 200


def test_with_a_token_nobody_comes_in_without(make: Make, cat: bytes) -> None:
    client = make(token=TOKEN, host="models.example:8000")
    for path in ("/api/models", "/metrics", "/openapi.json", "/static/main.js", "/static/examples/list.json"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token")
    assert client.post("/api/predict", files=upload(cat)).status_code == 401
    assert client.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert client.get("/api/models", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/api/models", headers={"Authorization": "Bearer é".encode()}).status_code == 401
    assert client.get("/healthz").json() == {"status": "ok"}  # whether it lives, and no more
    assert "models" in client.get("/healthz", headers={"Authorization": f"Bearer {TOKEN}"}).json()


def test_a_browser_logs_in_once(make: Make) -> None:
    client = make(token=TOKEN)
    page = client.get("/")
    assert page.url.path == "/login"
    wrong = client.post("/login", data={"token": "a guess"})
    assert (wrong.status_code, "not the token" in wrong.text) == (401, True)
    right = client.post("/login", data={"token": TOKEN}, follow_redirects=False)
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/api/models").status_code == 200


def test_the_printed_address_logs_in_and_drops_the_token(make: Make) -> None:
    client = make(token=TOKEN)
    page = client.get("/", params={"token": TOKEN})
    assert page.status_code == 200
    assert "token" not in str(page.url)
    assert make(token=TOKEN).get("/", params={"token": "wrong"}).url.path == "/login"
