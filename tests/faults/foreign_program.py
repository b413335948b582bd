"""The other programs that share the files: real ones, in processes of their own, without a lock and without a retry.

`python -m tests.faults.foreign_program append|read|rewrite ...`; each ends at SIGTERM or after its rounds, and prints
what it did as one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.plain import read_plainly

BLANKED = re.compile(rb"(?:^|(?<=\n)) +(?=\n)")


class Ended:
    """True once SIGTERM has come."""

    def __init__(self) -> None:
        self._ended = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self._ended = True

    def __bool__(self) -> bool:
        return self._ended


def append(path: Path, prefix: str, hold_share: float, hold_s: float, pause_s: float, ended: Ended) -> dict[str, Any]:
    """Open, write one to four lines, close; now and then the handle is held between them. Gives the ids written."""
    ids: list[str] = []
    held = 0
    while not ended:
        holds = random.random() < hold_share
        held += holds
        count = random.randint(1, 4)
        with open(path, "a") as file:
            for _ in range(count):
                id = f"{prefix}-{len(ids):06d}"
                file.write(json.dumps(appended_record(id)) + "\n")
                file.flush()
                ids.append(id)
                if holds:
                    time.sleep(hold_s / count)
        time.sleep(random.uniform(0, 2 * pause_s))
    return {"ids": ids, "held": held}


def appended_record(id: str) -> dict[str, Any]:
    """What `append` writes under this id."""
    prefix = id.rpartition("-")[0]
    return {"id": id, "status": "needs_review", "source": prefix, "task_name": "x" * 80, "corrected_response": None}


def read(paths: list[Path], growing: Path, pause_s: float, ended: Ended) -> dict[str, Any]:
    """Read the files over and over. What stood in `growing` once must stand there in every later read."""
    seen: set[str] = set()
    blanked: set[tuple[int, int]] = set()
    wrong: Counter[str] = Counter()
    reads = torn = 0
    while not ended:
        for path in paths:
            with open(path, "rb") as file:
                inode, data = os.fstat(file.fileno()).st_ino, file.read()
            reads += 1
            view = read_plainly(data)
            torn += bool(view.torn)
            blanked |= {(inode, found.start()) for found in BLANKED.finditer(data)}
            wrong.update(f"cannot parse: {line[:60]!r}" for line in view.unreadable)
            wrong.update(f"twice: {id}" for id in view.twice())
            if path == growing:
                wrong.update(f"missing: {id}" for id in seen - view.ids.keys())
                seen |= view.ids.keys()
        time.sleep(pause_s)
    return {"reads": reads, "torn_ends": torn, "wrong": wrong, "seen": len(seen), "blanked": len(blanked)}


def rewrite(
    path: Path, rounds: int, gap_s: float, cut: float, then: str, pause_s: float, ended: Ended
) -> dict[str, Any]:
    """Read all, wait up to `gap_s`, truncate and write all again, with the `own-N` record of the round edited.

    With `then`, only the share `cut` of the text is written at first: `die` ends the process there, `pause` goes on
    after `pause_s` with the rest, through the same handle.
    """
    edits: dict[str, str] = {}
    for number in range(rounds):
        if ended:
            break
        text = path.read_text()
        id, value = f"own-{number:04d}", f"edit {number}"
        out = "".join(edited(line, id, value) + "\n" for line in text.split("\n") if line.strip())
        time.sleep(random.uniform(0, gap_s))
        with open(path, "w") as file:
            if then:
                file.write(out[: int(len(out) * cut)])
                file.flush()
                if then == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(pause_s)
                file.write(out[int(len(out) * cut) :])
            else:
                file.write(out)
        edits[id] = value
        # The next round reads what the service has had the time to answer with.
        time.sleep(random.uniform(0, 0.5))
    return {"edits": edits, "at": time.time()}


def edited(line: str, id: str, value: str) -> str:
    """The line as a program writes it that parses all and dumps all."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if isinstance(record, dict) and record.get("id") == id:
        record["task_name"] = value
    return json.dumps(record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    appending = commands.add_parser("append")
    appending.add_argument("path", type=Path)
    appending.add_argument("--prefix", required=True)
    appending.add_argument("--hold-share", type=float, default=0.1)
    appending.add_argument("--hold-s", type=float, default=1.0)
    appending.add_argument("--pause-s", type=float, default=0.05)
    reading = commands.add_parser("read")
    reading.add_argument("paths", type=Path, nargs="+")
    reading.add_argument("--growing", type=Path, required=True)
    reading.add_argument("--pause-s", type=float, default=0.01)
    rewriting = commands.add_parser("rewrite")
    rewriting.add_argument("path", type=Path)
    rewriting.add_argument("--rounds", type=int, default=1)
    rewriting.add_argument("--gap-s", type=float, default=0.0)
    rewriting.add_argument("--cut", type=float, default=0.5)
    rewriting.add_argument("--pause-s", type=float, default=10.0)
    rewriting.add_argument("--then", choices=("die", "pause"), default="")
    asked = vars(parser.parse_args())
    random.seed(asked.pop("seed"))
    programs: dict[str, Callable[..., dict[str, Any]]] = {"append": append, "read": read, "rewrite": rewrite}
    program = programs[asked.pop("command")]
    ended = Ended()
    print("ready", flush=True)
    print(json.dumps(program(**asked, ended=ended)), flush=True)


if __name__ == "__main__":
    main()
