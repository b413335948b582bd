"""A training run's reader: `... -m tests.cluster.reader DIRECTORY [COUNT]` appends examples to DIRECTORY/ids.txt.

It ends after COUNT of them, and keeps where it stands in DIRECTORY/state.json; the next one goes on from there.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

from avocet_client import CorrectionsClient


def main() -> None:
    directory, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
    state = directory / "state.json"
    with CorrectionsClient(os.environ["AVOCET_ADDRESS"]) as client:
        export = client.export(batch_size=2)
        if state.exists():
            export.load_state_dict(json.loads(state.read_text()))
        with (directory / "ids.txt").open("a") as file:
            file.writelines(f"{example.id}\n" for example in islice(export, count))
        state.write_text(json.dumps(export.state_dict()))
        export.close()


if __name__ == "__main__":
    main()
