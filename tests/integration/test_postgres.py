"""The PostgreSQL that the tests use comes from a wheel and needs nothing else on the machine."""

from __future__ import annotations

import psycopg


def test_a_server_of_the_tests_own_answers(postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        assert connection.info.server_version >= 180000
        with connection.cursor() as cursor, cursor.copy("COPY (SELECT 1, 'ä') TO STDOUT") as copy:
            assert b"".join(bytes(data) for data in copy) == "1\tä\n".encode()
