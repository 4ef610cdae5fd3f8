"""Connections: slow headers, too many at once, TLS, IPv6."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request

import pytest
from serving_stub import StubPredictor, registry_of, wait_until_opened

from longform.serving import connections, server
from longform.serving.settings import ServerSettings


@contextlib.contextmanager
def running(**settings):
    """A whole server on free ports; yields its addresses."""
    registry, bound = registry_of(StubPredictor), []
    limits = ServerSettings(port=0, admin_port=0, **settings)
    stopper = {}
    real = server._Server

    class Stoppable(real):
        def __init__(self, *given):
            super().__init__(*given)
            stopper["server"] = self

        def capture_signals(self):
            return contextlib.nullcontext()

    server._Server = Stoppable
    thread = threading.Thread(
        target=server.run, args=(registry, limits), kwargs={"on_bound": bound.append}
    )
    try:
        thread.start()
        wait_until_opened(registry, 10)
        ends = time.monotonic() + 10
        while len(bound) < 3 and time.monotonic() < ends:
            time.sleep(0.01)
        yield bound
    finally:
        server._Server = real
        stopper["server"].should_exit = True
        thread.join(20)
    assert not thread.is_alive()


def connect(address: str) -> socket.socket:
    host, _, port = address.partition("//")[2].rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=5)


def test_r78_a_client_that_does_not_finish_its_header_is_let_go(monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with running() as bound, connect(bound[0]) as slow:
        slow.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n")
        began = time.monotonic()
        assert slow.recv(1) == b""
        assert 0.2 < time.monotonic() - began < 3
        with connect(bound[0]) as quick:
            quick.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert quick.recv(15) == b"HTTP/1.1 200 OK"
            time.sleep(0.5)
            # The clock stops with the first header: keep-alive has its own.
            quick.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert quick.recv(15)


def test_r78_connections_beyond_the_limit_are_answered_503():
    with running(max_connections=3) as bound, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connect(bound[0]))
        time.sleep(0.1)
        last = stack.enter_context(connect(bound[0]))
        last.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert last.recv(12) == b"HTTP/1.1 503"


def test_r78_ipv6_has_all_ports():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with running(host="::1") as bound:
        assert bound[0].startswith("http://[::1]:")
        with urllib.request.urlopen(f"{bound[0]}/health/ready", timeout=5) as reply:
            assert json.loads(reply.read())["status"] == "ready"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "chain.pem", folder / "key.pem"


def test_all_ports_speak_tls(certificate):
    import grpc

    from longform.serving import grpc_messages

    chain, key = certificate
    context = ssl.create_default_context(cafile=str(chain))
    with running(tls_certificate=str(chain), tls_key=str(key)) as bound:
        for address, path in ((bound[0], "/health/ready"), (bound[1].split()[0], "/models")):
            assert address.startswith("https://")
            with urllib.request.urlopen(address + path, timeout=5, context=context) as reply:
                assert reply.status == 200
        messages = grpc_messages.load(grpc_messages.OPEN_INFERENCE)
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(bound[2].split()[0], credentials) as channel:
            ask = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerReady",
                lambda one: one.SerializeToString(),
                messages["ServerReadyResponse"].FromString,
            )
            assert ask(messages["ServerReadyRequest"](), timeout=5).ready
