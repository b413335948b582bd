"""Where the settings come from: flags, then their environment variables, then the file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from avocet_client.connection import Connection, Tls

DEFAULT_ADDRESS = "127.0.0.1:50051"
NAMES = ("address", "token", "tls", "ca", "cert", "key", "reviewer")


def config_path() -> Path:
    """Return the settings file: `~/.config/avocet/client.toml`, unless XDG_CONFIG_HOME says otherwise."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "avocet" / "client.toml"


def settings_of(flags: dict[str, Any]) -> dict[str, Any]:
    """Return the file's settings, overridden by the flags that are given. Raises ValueError for a wrong file."""
    return _file() | {name: value for name, value in flags.items() if value is not None}


def connection_of(settings: dict[str, Any]) -> Connection:
    """Return how to reach the service. Raises OSError or ValueError if a certificate cannot be used."""
    files = {"roots": settings.get("ca", ""), "certificate": settings.get("cert", ""), "key": settings.get("key", "")}
    tls = Tls.from_files(**files) if settings.get("tls", any(files.values())) else None
    return Connection(settings.get("address", DEFAULT_ADDRESS), settings.get("token", ""), tls)


def _file() -> dict[str, Any]:
    path = config_path()
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text at byte {error.start + 1}") from None
    if unknown := sorted(set(found) - set(NAMES)):
        raise ValueError(f"{path} has {', '.join(unknown)}; it may have {', '.join(NAMES)}")
    for name, value in found.items():
        if not isinstance(value, bool if name == "tls" else str):
            raise ValueError(f"{path}: {name} must be {'true or false' if name == 'tls' else 'a string'}")
    return found
