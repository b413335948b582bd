"""Options that several commands take, with what makes arguments of them."""

from __future__ import annotations

import enum
from typing import Annotated, Any, get_args

import typer

import avocet_client.words as words
from avocet_client.export_options import VALIDATION_FRACTION, ExportOptions
from avocet_client.team_calls import OTHER
from avocet_client.words import CandidateFilter


def _choice(name: str, literal: Any, *others: str) -> Any:
    """Return a type whose values typer offers and completes."""
    return enum.Enum(name, {word: word for word in (*get_args(literal), *others)}, type=str)


ActionName: Any = _choice("ActionName", words.Action)
CategoryName: Any = _choice("CategoryName", words.FailureCategory)
OrderName: Any = _choice("OrderName", words.Order)
ListOrderName: Any = _choice("ListOrderName", words.ListOrder)
ChangeActionName: Any = _choice("ChangeActionName", words.ChangeAction)
StatusName: Any = _choice("StatusName", words.Status, OTHER)
OnConflictName: Any = _choice("OnConflictName", words.ConflictWord)
SplitByName: Any = _choice("SplitByName", words.SplitBy)
Side: Any = _choice("Side", words.SplitName)


def word(choice: Any) -> Any:
    """Return the word of a choice, or None."""
    return None if choice is None else choice.value


def words_of(choices: Any) -> list[Any]:
    """Return the words of a flag that may be repeated."""
    return [choice.value for choice in choices or ()]


def _connection(*names: str, env: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, envvar=env, help=help, metavar=metavar, rich_help_panel="Connection")


def _which(name: str, help: str, **limits: Any) -> Any:
    return typer.Option(name, help=help, rich_help_panel="Which examples", **limits)


def _filter(name: str, help: str) -> Any:
    return typer.Option(name, help=help, rich_help_panel="Filter (repeat a flag for any of several)")


Options = dict[str, tuple[Any, Any]]
"""Parameters by name: the annotation that typer reads, and the default."""

COMMON: Options = {
    "address": (
        Annotated[
            str | None,
            _connection("--address", "-a", env="AVOCET_ADDRESS", metavar="HOST:PORT", help="Where the service is."),
        ],
        None,
    ),
    "token": (Annotated[str | None, _connection("--token", env="AVOCET_TOKEN", help="Sent with every call.")], None),
    "tls": (
        Annotated[bool | None, _connection("--tls/--no-tls", env="AVOCET_TLS", help="Implied by --ca and --cert.")],
        None,
    ),
    "ca": (
        Annotated[
            str | None, _connection("--ca", env="AVOCET_CA", metavar="FILE", help="Authorities of the server (PEM).")
        ],
        None,
    ),
    "cert": (
        Annotated[
            str | None, _connection("--cert", env="AVOCET_CERT", metavar="FILE", help="Your own certificate (PEM).")
        ],
        None,
    ),
    "key": (
        Annotated[str | None, _connection("--key", env="AVOCET_KEY", metavar="FILE", help="Its private key (PEM).")],
        None,
    ),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print JSON.")], False),
}
"""What every command takes."""

FILTER: Options = {
    "task_types": (Annotated[list[str] | None, _filter("--task-type", "Of this task type.")], None),
    "model_names": (Annotated[list[str] | None, _filter("--model", "Of this model, by name.")], None),
    "sources": (Annotated[list[str] | None, _filter("--source", "From this source.")], None),
    "benchmark_run_ids": (Annotated[list[str] | None, _filter("--run", "From this benchmark run.")], None),
    "failure_categories": (Annotated[list[CategoryName] | None, _filter("--category", "With this category.")], None),
    "labels": (Annotated[list[str] | None, _filter("--label", "With this label.")], None),
    "min_quality_score": (Annotated[float | None, _filter("--min-quality", "With at least this quality score.")], None),
    "max_quality_score": (Annotated[float | None, _filter("--max-quality", "With at most this quality score.")], None),
    "prompt_digests": (
        Annotated[list[str] | None, _filter("--prompt-digest", "Asked the same; the digest is in 'show --json'.")],
        None,
    ),
}
"""The flags of a command that has a parameter `filter`."""

EXPORT: Options = {
    "split": (Annotated[Side | None, _which("--split", "One side of a split.")], None),
    "validation_fraction": (
        Annotated[float, _which("--validation-fraction", "The share of the validation side.", min=0, max=1)],
        VALIDATION_FRACTION,
    ),
    "split_by": (
        Annotated[SplitByName, _which("--split-by", "What stays on one side: each id, or the same prompt or task.")],
        SplitByName.id,
    ),
    "seed": (Annotated[int, _which("--seed", "Another seed makes another split.")], 0),
    "at_revision": (Annotated[int, _which("--at-revision", "As the store was at this revision; 0 is now.")], 0),
    "snapshot": (Annotated[str, _which("--snapshot", "As the store was when this snapshot was made.")], ""),
    "since_revision": (Annotated[int, _which("--since-revision", "Only what was approved after this revision.")], 0),
    "unique_prompts": (
        Annotated[bool, _which("--unique-prompts", "Only the newest correction of each prompt.")],
        False,
    ),
}
"""The flags, beside those of the filter, of a command that has a parameter `options`."""


def filter_of(arguments: dict[str, Any]) -> CandidateFilter:
    """Take the flags of `FILTER` out of the arguments, and return the filter that they state."""
    stated = {name: arguments.pop(name) for name in FILTER}
    stated["failure_categories"] = [word(category) for category in stated["failure_categories"] or ()]
    return CandidateFilter(**{name: value for name, value in stated.items() if value is not None})


def export_options_of(arguments: dict[str, Any]) -> ExportOptions:
    """Take the flags of `FILTER` and `EXPORT` out of the arguments, and return the options that they state."""
    stated: Any = {name: arguments.pop(name) for name in EXPORT}
    words = {name: word(stated[name]) for name in ("split", "split_by")}
    options: ExportOptions = stated | {"filter": filter_of(arguments)} | words
    return options


Category = Annotated[CategoryName | None, typer.Option("--category", help="What was wrong with the model's response.")]
Reviewer = Annotated[
    str | None, typer.Option(envvar="AVOCET_REVIEWER", help="Who decides. Your login name, unless stated.")
]
RequestId = Annotated[
    str | None, typer.Option("--request-id", help="Repeats an earlier call without storing it twice.")
]
