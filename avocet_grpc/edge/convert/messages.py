"""One message of a conversation on the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from avocet_grpc.core.model import Record
from avocet_grpc.core.record import replace_surrogates

USUAL = {"role", "content"}
Dump = Callable[[Any], str]
"""`python_json` for reviewers, `strict_json` for trainers."""


def chat_message(message: Record, dump: Dump) -> dict[str, str]:
    """Return the fields of a ChatMessage. A message itself would be copied into the one that it is a part of.

    Content that is not a string goes to `content_json`, every further key to `extra_json`. A null
    role is an unset one; a role of another type is in `extra_json`.
    """
    role, content = message.get("role"), message.get("content", "")
    if message.keys() == USUAL and type(role) is str is type(content) and role.isascii() and content.isascii():
        return {"role": role, "content": content}
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    if role is not None and not isinstance(role, str):
        rest["role"] = role
    fields = {"extra_json": dump(rest)} if rest else {}
    if isinstance(role, str):
        fields["role"] = replace_surrogates(role)
    if not isinstance(content, str):
        fields["content_json"] = dump(content)
    elif "content" in message:
        fields["content"] = replace_surrogates(content)
    return fields
