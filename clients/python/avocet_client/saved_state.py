"""What a saved state has to be before an iterator continues from it: its file may be cut off, or of something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_origin, get_type_hints, is_typeddict


def check_state(state: object, form: type, version: int | None = None) -> None:
    """Raise ValueError, which says what to do, unless the state has every required key of the typed dictionary `form`.

    A state of another version may have other keys, so its version is looked at first.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"the state is not a mapping; {_WHOLE}")
    if version is not None and state.get("version") != version:
        raise ValueError(f"the state is of version {state.get('version')}, this client reads {version}; {_WHOLE}")
    for name, hint in get_type_hints(form).items():
        if name not in state and name in form.__optional_keys__:  # type: ignore[attr-defined]
            continue
        kind = Mapping if is_typeddict(hint) else get_origin(hint) if get_origin(hint) is list else hint
        if name not in state or not isinstance(state[name], kind):
            raise not_whole(name)


def not_whole(name: str) -> ValueError:
    """Return the error of a state whose `name` is missing or wrong."""
    return ValueError(f"the state's {name!r} is missing or wrong; {_WHOLE}")


_WHOLE = "load one whole as state_dict() gave it, or load none and begin again"
