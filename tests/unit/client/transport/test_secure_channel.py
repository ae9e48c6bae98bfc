"""The client and the command line over TLS: trust, identity, secrets."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from lading_client import errors
from lading_client.client import Client
from lading_client.transport.credentials import Tls
from tests.harness.certificates import Authority
from tests.unit.client.conftest import Lading, clean_environment
from tests.unit.client.fake_service import FakeService, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "s3cret-token"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A daemon on TCP, and files of certificates."""

    service: FakeService
    address: str
    mutual: str
    ca: Path
    other_ca: Path
    certificate: Path
    key: Path


@pytest.fixture
async def site(folder: Path) -> AsyncIterator[Site]:
    ours, others, clients = Authority(), Authority(), Authority()
    service = FakeService()
    service.put("a")
    server = serving(service)
    pair = ours.issue("localhost")
    certificates = [(pair.key, pair.chain)]
    plain = server.add_secure_port("localhost:0", grpc.ssl_server_credentials(certificates))
    both = server.add_secure_port(
        "localhost:0", grpc.ssl_server_credentials(certificates, clients.certificate, require_client_auth=True)
    )
    await server.start()
    (folder / "ca.pem").write_bytes(ours.certificate)
    (folder / "other.pem").write_bytes(others.certificate)
    certificate, key = clients.issue(common_name="robot").write(folder, "robot")
    yield Site(
        service=service,
        address=f"localhost:{plain}",
        mutual=f"localhost:{both}",
        ca=folder / "ca.pem",
        other_ca=folder / "other.pem",
        certificate=certificate,
        key=key,
    )
    await server.stop(None)


async def test_a_token_goes_over_tls_with_every_kind_of_call(site: Site) -> None:
    async with Client(site.address, token=TOKEN, tls=Tls(ca=site.ca)) as client:
        assert (await client.get_job("jobs/a")).name == "jobs/a"
        async with aclosing(client.watch()) as events:
            await anext(events)
        assert [entry async for entry in client.audit()] == []
    assert [m["authorization"] for m in site.service.metadata] == [f"Bearer {TOKEN}"] * 3


async def test_a_client_shows_its_certificate_where_it_has_one(site: Site) -> None:
    tls = Tls(ca=site.ca, certificate=site.certificate, key=site.key)
    async with Client(site.mutual, tls=tls) as client:
        assert (await client.get_job("jobs/a")).name == "jobs/a"
    assert "authorization" not in site.service.metadata[0]
    async with Client(site.mutual, tls=Tls(ca=site.ca)) as client:
        with pytest.raises(errors.Unavailable):
            await client.pause_job("jobs/a")


async def test_the_name_in_the_certificate_counts(site: Site) -> None:
    numbers = site.address.replace("localhost", "127.0.0.1")
    async with Client(numbers, tls=Tls(ca=site.ca)) as client:
        with pytest.raises(errors.Unavailable):
            await client.pause_job("jobs/a")
    async with Client(numbers, tls=Tls(ca=site.ca, server_name="localhost")) as client:
        assert (await client.get_job("jobs/a")).name == "jobs/a"


@pytest.mark.parametrize("trusts", ["another authority", "the well-known ones"])
async def test_who_is_not_trusted_is_told_nothing(site: Site, trusts: str) -> None:
    tls = Tls(ca=site.other_ca) if trusts == "another authority" else None
    async with Client(site.address, token=TOKEN, tls=tls) as client:
        with pytest.raises(errors.Unavailable):
            await client.pause_job("jobs/a")
    assert site.service.requests == []


async def test_nothing_is_sent_in_plain_text(service: FakeService) -> None:
    server = serving(service)
    port = server.add_insecure_port("localhost:0")
    await server.start()
    async with Client(f"localhost:{port}", token=TOKEN) as client:
        with pytest.raises(errors.Unavailable):
            await client.pause_job("jobs/a")
    await server.stop(None)
    assert service.requests == []


async def test_files_that_cannot_be_used_are_named(site: Site, tmp_path: Path) -> None:
    odd = tmp_path / "odd.pem"
    odd.write_text("not in PEM")
    for tls, problem in (
        (Tls(ca=tmp_path / "none.pem"), "none.pem cannot be read: No such file or directory"),
        (Tls(ca=odd), "odd.pem is not a PEM file"),
        (Tls(ca=site.ca, certificate=site.certificate), "there is a certificate without a key"),
    ):
        with pytest.raises(errors.BadCredentials, match=problem):
            await Client(site.address, tls=tls).__aenter__()
    with pytest.raises(errors.BadCredentials, match="does not use TLS"):
        await Client("unix:/s", tls=Tls(ca=site.ca)).__aenter__()


@pytest.mark.parametrize("after", [False, True], ids=["before the name", "after the name"])
async def test_the_command_line_takes_them_from_its_options(
    site: Site, lading: Lading, tmp_path: Path, after: bool
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    bare = clean_environment(tmp_path)
    numbers = site.address.replace("localhost", "127.0.0.1")
    options = ("--server", numbers, "--server-name", "localhost", "--ca", str(site.ca), "--token-file", str(token))
    result = await lading(*(("ls", *options) if after else (*options, "ls")), environment=bare)
    assert (result.status, result.err) == (0, "")
    assert site.service.metadata[-1]["authorization"] == f"Bearer {TOKEN}"
    pair = ("--ca", str(site.ca), "--certificate", str(site.certificate), "--certificate-key", str(site.key))
    options = (*pair, "--server", site.mutual)
    result = await lading(*(("ls", *options) if after else (*options, "ls")), environment=bare)
    assert (result.status, result.err) == (0, "")


async def test_the_command_line_takes_them_from_its_environment(site: Site, lading: Lading, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}-of-the-file\n")
    named = clean_environment(tmp_path) | {"LADING_SERVER": site.address, "LADING_CA": str(site.ca)}
    for given, sent in (
        ({"LADING_TOKEN": TOKEN}, TOKEN),
        ({"LADING_TOKEN_FILE": str(token)}, f"{TOKEN}-of-the-file"),
        ({"LADING_TOKEN": TOKEN, "LADING_TOKEN_FILE": str(token)}, TOKEN),
    ):
        result = await lading("ls", environment=named | given)
        assert (result.status, result.err) == (0, "")
        assert site.service.metadata[-1]["authorization"] == f"Bearer {sent}"
    own = {"LADING_CERTIFICATE": str(site.certificate), "LADING_KEY": str(site.key), "LADING_SERVER": site.mutual}
    result = await lading("ls", environment=named | own)
    assert (result.status, result.err) == (0, "")


async def test_the_command_line_says_what_is_wrong_and_never_the_token(
    site: Site, lading: Lading, tmp_path: Path
) -> None:
    named = clean_environment(tmp_path) | {"LADING_SERVER": site.address, "LADING_TOKEN": TOKEN}
    missing = await lading("--ca", "none.pem", "ls", environment=named)
    assert missing.status == 2
    assert missing.err.startswith("lading: none.pem cannot be read: No such file or directory; --ca ")
    strange = await lading("pause", "a", environment=named | {"LADING_CA": str(site.other_ca)})
    assert strange.status == 1
    assert f"the daemon at {site.address} cannot be reached" in strange.err
    assert "certificate" in strange.err.lower()
    for code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        site.service.fail_next(code)
        refused = await lading("pause", "a", environment=named | {"LADING_CA": str(site.ca)})
        assert refused.status == 2
        assert "as the test wants" in refused.err
    assert TOKEN not in missing.err + strange.err + refused.err
