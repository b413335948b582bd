"""Dresses a client's method as the function of `calls` that it carries out: name, signature and documentation."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def described(method: Callable[..., Any], owner: type, name: str, build: Callable[..., Any]) -> Callable[..., Any]:
    """`method`, with the name `owner.name`, and what `help()` and `inspect.signature` tell taken from `build`."""
    signature = inspect.signature(build)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    result = str(signature.return_annotation).removeprefix("Call[").removesuffix("]")
    dressed: Any = method
    dressed.__name__, dressed.__qualname__ = name, f"{owner.__qualname__}.{name}"
    dressed.__doc__ = build.__doc__
    dressed.__signature__ = signature.replace(
        parameters=[client, *signature.parameters.values()], return_annotation=result
    )
    return method
