"""Which addresses of a database are refused, and that none of their messages shows a password."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from avocet_grpc.store.postgres.connect import NotAnAddress, connect, shown


@pytest.mark.parametrize("password", ["hunter/2", "hunter@2", "hun@te/r", "@hunter", "hunter/"])
def test_a_password_that_cuts_the_url_apart_is_refused_and_not_shown(password: str) -> None:
    for use in (shown, connect):
        with pytest.raises(NotAnAddress) as caught:
            use(f"postgres://avocet:{password}@127.0.0.1:1/main")
        assert "write @ as %40 and / as %2F" in str(caught.value)
        assert "hun" not in str(caught.value) and "ter" not in str(caught.value)
    escaped = password.replace("@", "%40").replace("/", "%2F")
    assert shown(f"postgres://avocet:{escaped}@127.0.0.1:1/main") == "postgres://avocet@127.0.0.1:1/main"


@pytest.mark.parametrize("store", ["", "host=127.0.0.1 password=hunter2", "127.0.0.1/main"])
def test_what_is_not_a_url_is_refused(store: str) -> None:
    with pytest.raises(NotAnAddress, match="must be postgres://"):
        connect(store)
