"""Client of the Avocet corrections service.

`CorrectionsClient` and `AsyncCorrectionsClient` are the clients; the bare typed stubs are `avocet_client.v1`, whose
import loads nothing else of this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avocet_client.api import *  # noqa: F403
else:
    # Not seen by type checkers, which would take any name to be there.
    def __getattr__(name: str) -> Any:
        if name == "__all__" or not name.startswith("_"):
            api = import_module("avocet_client.api")
            if name == "__all__" or name in api.__all__:
                return getattr(api, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted([*globals(), *import_module("avocet_client.api").__all__])
