"""The rows of the file of rows: examples, removals and seals, all of one size, each with a checksum.

A row that was not written to its end, that changed, or that stands elsewhere than where it was written fails its check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avocet_grpc.store.examples.numeric import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
else:
    Array = Any

VERSION = 1
EXAMPLE, REMOVAL, SEAL = 1, 2, 3
MEMORY = np.dtype([
    ("number", "<i8"), ("key", "<i8"), ("approved_revision", "<i8"), ("removed_revision", "<i8"),
    ("shard_hash", "<i8"), ("quality", "<f8"), ("prompt", "<u8", (4,)), ("split", "<u8"), ("facet", "<i4"),
    ("offset", "<i8"), ("id_offset", "<i8"), ("size", "<u4"), ("id_size", "<u4"),
])  # fmt: skip
"""What is kept of an example. `prompt` is the prompt's digest, or 0; `split` the hash by id under the seed 0."""
ROW = np.dtype([("kind", "<u4"), *[(name, MEMORY[name]) for name in MEMORY.names or ()], ("check", "<u8")])
_REST = ROW.itemsize - 4 - 8
REMOVAL_ROW = np.dtype([("kind", "<u4"), ("row", "<i8"), ("revision", "<i8"), ("", f"V{_REST - 16}"), ("check", "<u8")])
"""That the example of a row is not seen from a revision on."""
SEAL_ROW = np.dtype([
    ("kind", "<u4"), ("start", "<i8"), ("end", "<i8"), ("ids_start", "<i8"), ("ids_end", "<i8"), ("facets_end", "<i8"),
    ("covered", "<i8"), ("sum", "<u8"), ("ids_sum", "<u8"), ("facets_sum", "<u8"), ("", f"V{_REST - 72}"),
    ("check", "<u8"),
])  # fmt: skip
"""Behind the rows of a block: where its bytes stand in the files, and their checksums.

`covered`, if it is not 0, is the revision up to which the rows so far have all examples and removals. `facets_sum` is
of the whole file up to `facets_end`.
"""
_FACTORS = (np.arange(1, ROW.itemsize // 8, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)) | np.uint64(1)


def checks(rows: Array, start: int) -> Array:
    """Return the check of each row; the first one is the file's row number `start`."""
    words = rows.view("<u8").reshape(len(rows), -1)[:, :-1]
    mixed = (words ^ (words >> np.uint64(29))) * _FACTORS
    total = mixed.sum(axis=1, dtype="<u8") + (np.arange(len(rows), dtype="<u8") + np.uint64(start + 1)) * _FACTORS[0]
    checked: Array = total ^ (total >> np.uint64(32))
    return checked
