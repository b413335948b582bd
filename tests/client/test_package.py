"""The package: what it exports, what it pulls, and what an import of it loads."""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

import avocet_client
import avocet_client.api
import avocet_client.calls
from avocet_client import team_calls
from avocet_client.base import ClientBase
from tests.support import ROOT

PACKAGE = ROOT / "clients/python"

NAMES = [
    "Action",
    "AlreadyInReview",
    "AsyncCorrectionsClient",
    "AsyncExport",
    "AsyncHeldClaim",
    "AsyncHold",
    "AsyncPager",
    "AsyncWatch",
    "CallTooLong",
    "CandidateFilter",
    "CandidateNotFound",
    "ChangeAction",
    "ClaimLost",
    "ClaimWord",
    "Claimed",
    "ConfigUnreadable",
    "Conflict",
    "Correction",
    "CorrectionsClient",
    "CorrectionsError",
    "DeadlineExceeded",
    "Decision",
    "DecisionResult",
    "Export",
    "ExportCorrupted",
    "ExportOptions",
    "ExportStateDict",
    "FailureCategory",
    "FieldViolation",
    "Health",
    "HeldClaim",
    "Hold",
    "IngestResult",
    "IngestionNotConfigured",
    "InternalError",
    "InvalidField",
    "ListOrder",
    "NotFound",
    "NotInReview",
    "Order",
    "Overloaded",
    "Pager",
    "RequestTooLarge",
    "RevisionExpired",
    "RevisionMismatch",
    "RunNotFound",
    "ShuttingDown",
    "SnapshotExists",
    "SnapshotNotFound",
    "SplitBy",
    "SplitName",
    "Status",
    "StorageFailed",
    "StorageFull",
    "StorageUnreachable",
    "Tls",
    "TokenMissing",
    "TokenRefused",
    "TransportError",
    "TryLater",
    "Unauthorized",
    "UnknownReason",
    "Watch",
    "WatchStateDict",
    "category_word",
    "channel_options",
    "status_word",
    "to_dict",
    "to_kto",
    "to_openai",
    "to_preference",
    "to_sft",
]

CLIENT_METHODS = [
    "candidates",
    "channel",
    "claim",
    "close",
    "create_snapshot",
    "delete_snapshot",
    "export",
    "get_candidate",
    "get_config",
    "get_snapshot",
    "get_version",
    "health",
    "history",
    "hold",
    "import_run",
    "in_review",
    "ingest",
    "ingest_many",
    "list_candidates",
    "list_history",
    "list_runs",
    "list_snapshots",
    "queue",
    "release_claims",
    "renew_claims",
    "runs",
    "set_config",
    "snapshots",
    "stats",
    "submit",
    "submit_many",
    "undo",
    "upload_run",
    "version",
    "watch",
]


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"{statement}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(json.loads(done.stdout))


def test_the_exported_names_are_these_and_no_others() -> None:
    assert avocet_client.api.__all__ == NAMES
    assert set(NAMES) <= set(dir(avocet_client))
    assert all(hasattr(avocet_client, name) for name in NAMES)
    with pytest.raises(AttributeError):
        avocet_client.unheard_of  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("kind", [avocet_client.CorrectionsClient, avocet_client.AsyncCorrectionsClient])
def test_the_clients_methods_are_these_and_no_others(kind: type) -> None:
    assert [name for name in sorted(dir(kind)) if not name.startswith("_")] == CLIENT_METHODS


METHODS = [name for name in CLIENT_METHODS if name != "channel"]
SYNC_ONLY = {
    "candidates": "Pager[pb.Candidate, pb.ListCandidatesResponse]",
    "close": "None",
    "export": "Export",
    "history": "Pager[pb.Change, pb.ListHistoryResponse]",
    "hold": "Hold",
    "in_review": "Pager[pb.Candidate, pb.QueueResponse]",
    "ingest_many": "Iterator[IngestResult]",
    "runs": "Pager[pb.Run, pb.ListRunsResponse]",
    "snapshots": "Pager[pb.Snapshot, pb.ListSnapshotsResponse]",
    "watch": "Watch",
}
"""Methods that the async client has otherwise, with what the sync one returns."""
PAGED = {
    "candidates": "list_candidates",
    "history": "list_history",
    "in_review": "queue",
    "runs": "list_runs",
    "snapshots": "list_snapshots",
}
"""The pagers, each with the method of one page."""
SEVERAL_STEPS = {"health", "submit_many", "upload_run", "version"}
"""Awaited methods that are more than one call of `calls`."""
UNARY = [name for name in METHODS if name not in SYNC_ONLY and name not in SEVERAL_STEPS]


def module_of(name: str) -> Any:
    """Where the method's call is made."""
    return avocet_client.calls if hasattr(avocet_client.calls, name) else team_calls


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_same_signature_in_both_clients(name: str) -> None:
    sync = inspect.signature(getattr(avocet_client.CorrectionsClient, name))
    other = inspect.signature(getattr(avocet_client.AsyncCorrectionsClient, name))
    if name == "ingest_many":
        stated = {"corrections": "Iterable[Correction] | AsyncIterable[Correction]"}
        expected = [
            each.replace(annotation=stated.get(each.name, each.annotation)) for each in sync.parameters.values()
        ]
        sync = sync.replace(parameters=expected)
    assert list(other.parameters.values()) == list(sync.parameters.values())
    if name in SYNC_ONLY:
        assert sync.return_annotation == SYNC_ONLY[name]
    else:
        assert other.return_annotation == sync.return_annotation


@pytest.mark.parametrize("name", UNARY)
def test_a_method_has_the_arguments_of_the_call_that_it_makes(name: str) -> None:
    method = inspect.signature(getattr(avocet_client.CorrectionsClient, name))
    call = inspect.signature(getattr(module_of(name), name))
    assert list(method.parameters.values())[1:] == list(call.parameters.values())
    assert call.return_annotation == f"Call[{method.return_annotation}]"


@pytest.mark.parametrize("kind", [avocet_client.CorrectionsClient, avocet_client.AsyncCorrectionsClient])
def test_each_method_is_written_out_in_its_class_with_documentation_of_its_own(kind: type) -> None:
    for name in METHODS:
        owner = next(each for each in kind.__mro__ if name in vars(each))
        method = vars(owner)[name]
        assert owner is not ClientBase
        assert inspect.isfunction(method) and method.__module__ == owner.__module__
        assert method.__doc__ and f"def {name}(" in inspect.getsource(method)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("kind", [avocet_client.CorrectionsClient, avocet_client.AsyncCorrectionsClient])
def test_a_method_passes_each_of_its_arguments_on(kind: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    call = inspect.signature(getattr(module_of(name), name))
    carried: list[Any] = []

    def carry_out(client: Any, call: Any) -> Any:
        carried.append(call)
        return asyncio.sleep(0) if kind is avocet_client.AsyncCorrectionsClient else None

    monkeypatch.setattr(module_of(name), name, lambda *args, **kwargs: call.bind(*args, **kwargs).arguments)
    monkeypatch.setattr(kind, "_carry_out", carry_out)
    given = {parameter: object() for parameter in call.parameters}
    result = getattr(kind("127.0.0.1:1"), name)(**given)
    if inspect.iscoroutine(result):
        asyncio.run(result)
    assert carried == [given]


@pytest.mark.parametrize("kind", [avocet_client.CorrectionsClient, avocet_client.AsyncCorrectionsClient])
@pytest.mark.parametrize("name", PAGED)
def test_a_pager_passes_each_argument_of_its_pages_on(kind: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, method = module_of(PAGED[name]), PAGED[name]
    call = inspect.signature(getattr(module, method))
    called: list[Any] = []
    monkeypatch.setattr(module, method, lambda **given: called.append(given))
    given = {parameter: object() for parameter in inspect.signature(getattr(kind, name)).parameters}
    getattr(kind, name)(kind("127.0.0.1:1"), **{key: value for key, value in given.items() if key != "self"})
    renamed = {"per_page" if method == "queue" and key == "page_size" else key: value for key, value in given.items()}
    assert called == [{key: value for key, value in renamed.items() if key != "self"}]
    assert set(called[0]) == set(call.parameters) - {"page"}


def test_every_method_takes_metadata_and_a_timeout() -> None:
    for name in METHODS:
        parameters = inspect.signature(getattr(avocet_client.CorrectionsClient, name)).parameters
        assert name == "close" or {"metadata", "timeout"} <= set(parameters), name


def test_an_export_refuses_an_option_that_does_not_exist() -> None:
    client: Any = avocet_client.CorrectionsClient("127.0.0.1:1")
    with pytest.raises(TypeError, match="colour"):
        client.export(colour="blue")


def test_the_stubs_load_nothing_else_of_the_package() -> None:
    ours = {name for name in loaded_by("from avocet_client.v1 import *") if name.startswith("avocet_client")}
    stubs = {"corrections_pb2", "corrections_pb2_grpc", "error_reason_pb2"}
    assert ours == {"avocet_client", "avocet_client.v1"} | {f"avocet_client.v1.{name}" for name in stubs}


def test_the_messages_alone_need_no_grpc() -> None:
    loaded = loaded_by("from avocet_client.v1 import corrections_pb2")
    assert "avocet_client.v1.corrections_pb2" in loaded and "grpc" not in loaded


def test_each_module_can_be_the_first_that_is_imported() -> None:
    directory = PACKAGE / "avocet_client"
    extras = {"torch", "__init__"}
    modules = [path.stem for path in sorted(directory.glob("*.py")) if path.stem not in extras] + ["cli.app"]
    loaded_by(
        f"""
import sys, importlib
for name in {modules}:
    for loaded in [each for each in sys.modules if each.startswith("avocet_client") and ".v1" not in each]:
        del sys.modules[loaded]
    importlib.import_module("avocet_client." + name)
"""
    )


def test_the_client_loads_nothing_that_an_extra_brings() -> None:
    loaded = {name.partition(".")[0] for name in loaded_by("import avocet_client; avocet_client.CorrectionsClient")}
    assert not loaded & {"typer", "rich", "datasets", "torch", "numpy", "avocet_grpc"}
