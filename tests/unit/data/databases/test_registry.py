"""The list of databases: the providers of URLs. Using the list loads no driver."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from ladingd.data.databases.registry import preload, provider_of, providers

_DRIVERS = ("pyarrow", "numpy", "duckdb", "psycopg", "adbc_driver_manager", "sqlite3")


def test_no_two_providers_share_a_scheme() -> None:
    schemes = Counter(scheme for provider in providers() for scheme in provider.schemes)
    assert set(schemes.values()) == {1}


@pytest.mark.parametrize("provider", providers(), ids=lambda provider: provider.name)
def test_the_form_that_messages_name_is_a_url_of_the_provider(provider: object) -> None:
    url = provider.url_form  # type: ignore[attr-defined]
    assert provider_of(url) is provider
    provider_of(url).check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:", "sqlite:crm.db", "sqlite://host/crm.db", "sqlite:////", "sqlite:////x?mode=ro", "sqlite:////x#1"),
        *("postgresql:/h/d", "postgres:h", "mysql://h/d", "crm.db", ""),
    ],
)
def test_urls_that_lead_nowhere_are_refused_without_a_value_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"must read|ends with the path") as refused:
        provider_of(url).check_url(url)
    assert "crm" not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite:////srv/a%3Fb.db", "sqlite:///srv/a%3Fb.db"])
def test_a_database_in_a_file_is_found_by_its_path(url: str) -> None:
    provider_of(url).check_url(url)
    assert provider_of(url).database_file(url) == Path("/srv/a?b.db")


def test_postgresql_has_no_file_and_reads_files_with_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSFILE", "/etc/pgpass")
    url = "postgresql://h/d?sslkey=/tls/key&sslcert=relative"
    provider = provider_of(url)
    assert provider.database_file(url) is None
    found = provider.secret_files(url)
    assert {Path("/tls/key"), Path("/etc/pgpass")} <= set(found.values())
    assert Path("relative") not in found.values()


def test_every_module_to_preload_exists() -> None:
    assert [module for module in preload() if find_spec(module) is None] == []


def test_looking_at_the_list_loads_no_driver() -> None:
    """The daemon uses the list, and a driver would cost it half a second and 100 MB."""
    program = (
        "import sys; from ladingd.data.databases.registry import preload; preload(); import ladingd.data.transfer; "
        f"print([name for name in {_DRIVERS!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
