"""If a command cannot reach a daemon or is refused, it prints one sentence with the option that helps."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.harness.certificates import Authority
from tests.unit.client.conftest import Lading, Result, clean_environment
from tests.unit.client.fake_service import FakeService, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "s3cret-token"


@pytest.fixture
async def ports(folder: Path) -> AsyncIterator[dict[str, int]]:
    """Servers with all kinds of certificates, by name, and the files of clients."""
    ours, others, clients = Authority(), Authority(), Authority()
    (folder / "ca.pem").write_bytes(ours.certificate)
    (folder / "other.pem").write_bytes(others.certificate)
    for name, pair in {
        "robot": clients.issue(common_name="robot"),
        "late": clients.issue(common_name="robot", expired=True),
        "early": clients.issue(common_name="robot", early=True),
        "stranger": others.issue(common_name="robot"),
    }.items():
        pair.write(folder, name)
    server = serving(FakeService())
    plain = server.add_insecure_port("localhost:0")
    bound = {"plain": plain}
    for name, pair in {
        "good": ours.issue("localhost"),
        "expired": ours.issue("localhost", expired=True),
        "early": ours.issue("localhost", early=True),
        "elsewhere": ours.issue("elsewhere.example"),
        "itself": others.itself,
    }.items():
        bound[name] = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(pair.key, pair.chain)]))
    pair = ours.issue("localhost")
    mutual = grpc.ssl_server_credentials([(pair.key, pair.chain)], clients.certificate, require_client_auth=True)
    bound["mutual"] = server.add_secure_port("localhost:0", mutual)
    await server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, "web"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    web = await asyncio.start_server(answer, "localhost", 0, ssl=context)
    bound["web"] = web.sockets[0].getsockname()[1]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        bound["nobody"] = unused.getsockname()[1]
        yield bound
    web.close()
    await server.stop(None)


def certificate(name: str) -> tuple[str, ...]:
    return ("--ca", "ca.pem", "--certificate", f"{name}.pem", "--certificate-key", f"{name}.key")


CASES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "an authority that nobody knows": (
        "good",
        (),
        "is not signed by a well-known authority: name the authority .* with --ca",
    ),
    "another authority": ("good", ("--ca", "other.pem"), "not signed by the authority in other.pem: .* with --ca"),
    "signed by itself": ("itself", ("--ca", "ca.pem"), "self-signed and not trusted: .* with --ca"),
    "expired": ("expired", ("--ca", "ca.pem"), "its certificate has expired: the daemon's administrator"),
    "not yet valid": ("early", ("--ca", "ca.pem"), "its certificate is not valid yet: compare the clocks"),
    "another name": (
        "elsewhere",
        ("--ca", "ca.pem"),
        "not for localhost but for elsewhere.example: use that name, or --server-name elsewhere.example",
    ),
    "no TLS at all": ("plain", ("--ca", "ca.pem"), "does not speak TLS: is [0-9]+ the port of .tls. listen"),
    "a web server": ("web", ("--ca", "ca.pem"), "speaks TLS but not gRPC: is [0-9]+ the port of the daemon"),
    "nobody": ("nobody", ("--ca", "ca.pem"), "nothing listens there: does the daemon run"),
    "no certificate": (
        "mutual",
        ("--ca", "ca.pem"),
        "asks for a client certificate: .* --certificate and --certificate-key",
    ),
    "an expired certificate": ("mutual", certificate("late"), "certificate late.pem has expired: .* --certificate"),
    "an early certificate": (
        "mutual",
        certificate("early"),
        "certificate early.pem is not valid yet: .* --certificate",
    ),
    "a certificate of others": (
        "mutual",
        certificate("stranger"),
        "does not trust the client's certificate stranger.pem",
    ),
}


async def run(lading: Lading, folder: Path, *arguments: str, **environment: str) -> Result:
    """Run a command in the folder of the files. Checks that it prints one line without secrets and without gRPC's
    log."""
    given = tuple(str(folder / each) if each.endswith((".pem", ".key", ".txt")) else each for each in arguments)
    result = await lading(*given, environment=clean_environment(folder) | environment)
    assert result.err.count("\n") == 1, result.err
    assert result.out == ""
    assert result.err.startswith("lading: ")
    for word in (": OK", "E0000", "ssl_transport", "UNKNOWN", "OPENSSL", "Traceback", TOKEN):
        assert word not in result.err
    return result


@pytest.mark.parametrize("case", CASES)
async def test_every_failure_of_tls_is_one_sentence_with_what_helps(
    ports: dict[str, int], lading: Lading, folder: Path, case: str
) -> None:
    port, options, said = CASES[case]
    address = f"localhost:{ports[port]}"
    result = await run(lading, folder, *options, "pause", "a", "--server", address, http_proxy="http://127.0.0.1:1")
    assert result.status == 1
    text = result.err.replace(f"{folder}/", "")
    assert text.startswith(f"lading: the daemon at {address} cannot be reached: ")
    assert re.search(said, text), text


async def test_a_name_that_nobody_knows_and_a_socket_that_is_not_there(
    lading: Lading, folder: Path, socket: Path
) -> None:
    unknown = await run(lading, folder, "pause", "a", "--server", "nowhere.invalid:7443")
    assert re.search("the name nowhere.invalid is not known .*--server", unknown.err)
    missing = await run(lading, folder, "pause", "a", "--server", f"unix:{socket}")
    assert "the socket does not exist: does the daemon run? To name another socket: --server" in missing.err


async def test_a_right_certificate_is_let_in(ports: dict[str, int], lading: Lading, folder: Path) -> None:
    options = [str(folder / each) if "." in each else each for each in certificate("robot")]
    result = await lading(
        *options, "ls", "--server", f"localhost:{ports['mutual']}", environment=clean_environment(folder)
    )
    assert result.status == 0, result.err


async def test_files_that_cannot_be_used_name_their_option(ports: dict[str, int], lading: Lading, folder: Path) -> None:
    address = f"localhost:{ports['good']}"
    (folder / "empty.txt").write_text(" \n")
    (folder / "words.txt").write_text("not a token")
    (folder / "lines.txt").write_text(f"{TOKEN}\nmore\n")
    (folder / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for options, said, option in (
        (("--ca", "none.pem"), "none.pem cannot be read: No such file", "--ca "),
        (("--ca", "words.txt"), "words.txt is not a PEM file", "--ca "),
        (("--ca", "broken.pem"), "broken.pem holds no certificate", "--ca "),
        (("--certificate", "robot.pem"), "a certificate without a key", "--certificate-key "),
        (("--certificate-key", "robot.key"), "a key without a certificate", "--certificate "),
        (
            ("--certificate", "robot.pem", "--certificate-key", "late.key"),
            "does not belong to the certificate",
            "--certificate-key ",
        ),
        (
            ("--certificate", "robot.pem", "--certificate-key", "none.key"),
            "none.key cannot be read",
            "--certificate-key ",
        ),
        (
            ("--certificate", "robot.pem", "--certificate-key", "ca.pem"),
            "are not a certificate and its key",
            "--certificate-key ",
        ),
        (("--token-file", "none.txt"), "none.txt cannot be read", "--token-file "),
        (("--token-file", "empty.txt"), "empty.txt is empty", "--token-file "),
        (("--token-file", "words.txt"), "words.txt must hold one token", "--token-file "),
        (("--token-file", "lines.txt"), "lines.txt must hold one token", "--token-file "),
    ):
        result = await run(lading, folder, *options, "pause", "a", "--server", address)
        assert result.status == 2
        assert said in result.err
        assert option in result.err
    nothing = await run(lading, folder, "pause", "a", "--server", address, LADING_TOKEN=" ")
    assert "LADING_TOKEN" in nothing.err


async def test_a_token_that_is_not_accepted_names_its_option(served: FakeService, lading: Lading, socket: Path) -> None:
    folder = socket.parent
    (folder / "token.txt").write_text(f"{TOKEN}\n")
    known = {"LADING_SERVER": f"unix:{socket}"}
    for options, environment, helps in (
        ((), {}, "with --token-file; .*ladingd token create"),
        (("--token-file", "token.txt"), {}, "--token-file must give another token"),
        ((), {"LADING_TOKEN": TOKEN}, "LADING_TOKEN or LADING_TOKEN_FILE must give"),
    ):
        served.failures.append((grpc.StatusCode.UNAUTHENTICATED, ()))
        result = await run(lading, folder, *options, "pause", "a", **known, **environment)
        assert result.status == 2
        assert re.search(rf"unix:{socket} does not let you in: as the test wants; .*{helps}", result.err), result.err
