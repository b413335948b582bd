"""Client of the Avocet corrections service.

`CorrectionsClient` and `AsyncCorrectionsClient` are the clients. `avocet_client.v1` has the bare typed stubs; it loads
nothing else of this package.

    from avocet_client import CorrectionsClient

    with CorrectionsClient("127.0.0.1:50051") as client:
        print(client.stats().total)

Reading order: `client`, `team_client` and `listing_client` (each method), `calls` (what a method sends), `errors`. Then
come `export_state`, `bulk_state`, `watch_state` and `claim_state`, which do no I/O. `exports`, `bulk`, `watches` and
`holds` carry them out. `render` makes trainers' rows of examples. `cli` is the command `avocet`. `testing` is the
service in memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from avocet_client.api import *  # noqa: F403
else:
    # Hidden from type checkers: they would suppose that every name exists.
    def __getattr__(name: str) -> Any:
        if name == "__all__" or not name.startswith("_"):
            api = import_module("avocet_client.api")
            if name == "__all__" or name in api.__all__:
                return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *import_module("avocet_client.api").__all__])
