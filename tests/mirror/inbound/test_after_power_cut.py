"""What a power cut leaves of a line that the index has whole."""

from __future__ import annotations

import os

import pytest

from avocet_grpc.core.model import CandidateFilter, File
from tests.mirror.in_process import InProcess
from tests.mirror.traces import correct, path_of, rest, service
from tests.support import records

__all__ = ["service"]


@pytest.mark.parametrize("file", list(File))
def test_half_a_line_that_a_power_cut_left_where_the_index_has_the_whole_is_no_malformed_line(
    service: InProcess, file: File
) -> None:
    """The index reaches the disk before the file, of which the last page may be missing then."""
    for number in range(3):
        correct(service, f"c{number}", "better")
    service.come_to_rest()
    before = {one["id"]: one for one in records(path_of(service, file))}
    service.crash()
    path = path_of(service, file)
    os.truncate(path, path.stat().st_size - 40)
    service.open()
    rest(service)
    assert {one["id"]: one for one in records(path)} == before
    assert service.ask(lambda reader: reader.stats(CandidateFilter())).malformed == 0
