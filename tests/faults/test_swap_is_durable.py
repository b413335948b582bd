"""What a swap leaves behind is on the disk, names included, before the ledger relies on it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.faults.acks import Acks
from tests.faults.check import check
from tests.faults.load import Caller, candidates
from tests.faults.support import need
from tests.support import Server, eventually, write_records

CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<rest>.*)")


def test_an_exchange_is_on_the_disk_before_the_ledger_relies_on_it(victim: Server, acks: Acks, tmp_path: Path) -> None:
    need("strace")
    write_records(victim.candidates, made := candidates(30))
    acks.add(made)
    trace = tmp_path / "trace"
    calls = "trace=renameat2,fsync,fdatasync"
    victim.prefix = ["strace", "-D", "-f", "-qq", "-y", "-o", str(trace), "-e", calls]
    server = victim.start()
    with server.candidates.open("rb"):
        inode = server.candidates.stat().st_ino
        assert Caller(acks, server.address).submit("correct")
        eventually(lambda: server.candidates.stat().st_ino != inode)
    check(acks, server)
    assert server.stop() == 0
    found = [(match["name"], match["rest"]) for line in trace.open() if (match := CALL.match(line))]
    exchanges = [number for number, (name, rest) in enumerate(found) if "RENAME_EXCHANGE" in rest]
    assert exchanges, "nothing was swapped"
    for number in exchanges:
        before = [rest for _, rest in found[:number]]
        assert any(".new>" in rest for rest in before), "the new file was not synced before the exchange"
        name, rest = found[number + 1]
        assert name == "fsync" and f"<{server.data}>" in rest, f"the directory was not synced, next was {name}({rest}"
