"""Which examples an export has: the options that every kind of export takes, stated once."""

from __future__ import annotations

from typing import TypedDict

from avocet_client.requests import sendable
from avocet_client.v1 import corrections_pb2 as pb
from avocet_client.words import SPLIT_BYS, SPLITS, CandidateFilter, SplitBy, SplitName, number

VALIDATION_FRACTION = 0.1


class ExportOptions(TypedDict, total=False):
    """Which examples an export has. Every option may be left out; all of them are keyword arguments.

    filter: only the examples that match it.
    split: "train" or "validation": one side of a split of all examples. Without it, the export has both sides.
    validation_fraction: the share of the validation side, from 0 to 1. Without it, 0.1.
    split_by: what stays on one side: "prompt" for examples that were asked the same, "task" for those of one `task_id`.
        Without it, "id": each example goes by itself, and the same question may stand on both sides.
    seed: another seed makes another split. Without it, 0.
    snapshot: the examples of the snapshot with this name. Without it: those of `at_revision`.
    at_revision: the examples as they were at this revision of the store. Without it, or 0: as they are now.
    since_revision: only the examples that were approved after this revision. Without it, or 0: all.
    unique_prompts: of all examples with the same prompt, only the one that was approved last. Without it, all.
    """

    filter: CandidateFilter | None
    split: SplitName | None
    validation_fraction: float
    split_by: SplitBy
    seed: int
    snapshot: str
    at_revision: int
    since_revision: int
    unique_prompts: bool


def export_request(
    options: ExportOptions, *, shard_index: int = 0, shard_count: int = 1, batch_size: int = 0
) -> pb.StreamExportRequest:
    """Return the request that the options state. Raises TypeError for an unknown option, ValueError for a bad word."""
    if unknown := sorted(options.keys() - ExportOptions.__annotations__.keys()):
        raise TypeError(f"an export has no option {', '.join(unknown)}")
    filter = options.get("filter")
    return sendable(pb.StreamExportRequest)(
        filter=filter.message() if filter else None,
        shard_index=shard_index,
        shard_count=shard_count,
        split=_split(options),
        batch_size=batch_size,
        snapshot=options.get("snapshot", ""),
        at_revision=options.get("at_revision", 0),
        since_revision=options.get("since_revision", 0),
        unique_prompts=options.get("unique_prompts", False),
    )


def _split(options: ExportOptions) -> pb.Split | None:
    side = options.get("split")
    if side is None:
        return None
    return pb.Split(
        name=number("split", side, SPLITS),
        validation_fraction=options.get("validation_fraction", VALIDATION_FRACTION),
        seed=options.get("seed", 0),
        by=number("split_by", options.get("split_by", "id"), SPLIT_BYS),
    )
