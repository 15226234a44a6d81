"""A server that answers anybody is found by asking it, wherever its address comes from."""

from __future__ import annotations

import os
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vidpred.commands import exposure
from vidpred.tracking.server import answers_anybody, version

# MLflow uses parts of SQLAlchemy that are to go
pytestmark = pytest.mark.filterwarnings(r"ignore::DeprecationWarning:mlflow\..*")


def test_an_open_server_is_told_where_others_reach_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answers_anybody(server)
    assert version(server) == mlflow.__version__
    assert list(exposure.mlflow_address(server)) == []  # on loopback, nobody else does
    monkeypatch.setattr(exposure, "is_loopback", lambda _host: False)
    texts = [finding.text for finding in exposure.mlflow_address(server)]
    assert any("answers whoever asks" in text and "--app-name basic-auth" in text for text in texts)


def test_an_open_server_with_a_certificate_of_its_own_is_told_too(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "own.pem"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Open) as front:
        front.socket = context.wrap_socket(front.socket, server_side=True)
        thread = threading.Thread(target=front.serve_forever)
        thread.start()
        try:
            assert answers_anybody(f"https://127.0.0.1:{front.server_port}")
        finally:
            front.shutdown()
            thread.join()


class Open(BaseHTTPRequestHandler):
    """Answers as an MLflow server does that asks nobody who he is."""

    def do_GET(self) -> None:
        """The experiments."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"experiments": []}')

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def certificate(path: Path) -> Path:
    """A key and its certificate that nobody else has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(plain + signed.public_bytes(Encoding.PEM))
    return path


def test_an_open_server_of_this_machine_is_found_by_its_process(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = server.rpartition(":")[2]
    monkeypatch.setattr(exposure, "from_elsewhere", lambda ip: ip == "127.0.0.1")
    found = [finding.text for finding in exposure.listeners() if f":{port} " in finding.text]
    assert found
    assert all(f"listens on 127.0.0.1:{port} and answers whoever asks" in text for text in found)
    assert os.getpid() not in [int(text.split()[1]) for text in found]
