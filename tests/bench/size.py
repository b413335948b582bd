"""How large a ledger is beside its files, on texts that people wrote: `python -m tests.bench.size COUNT [DIR...]`.

Records are those of the benchmark, of 2 KB. Their texts are paragraphs of the text files below the directories:
documentation, docstrings and comments have about the entropy of a model's answers. Each is used once; if there are too
few, all are shuffled and used again. The ledger compresses each record alone, so it gains nothing by a paragraph that
another record has.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

from avocet_grpc.layout import DataDirectory
from tests.bench import sides
from tests.bench.dataset import APPROVED_EACH, RECORD_BYTES, candidate

SUFFIXES = frozenset({".html", ".md", ".pod", ".py", ".rst", ".txt"})
LONGEST_FILE = 2_000_000
SHORTEST = 40
"""Characters of a paragraph."""
PLACES = ("/usr/share/doc", "/usr/lib/python3", "/usr/share/perl", sys.base_prefix, sys.prefix)


def paragraphs(directories: list[Path]) -> Iterator[str]:
    """Yield each paragraph of the text files below the directories once."""
    seen = set[bytes]()
    for file in itertools.chain.from_iterable(sorted(each.rglob("*")) for each in directories):
        if file.suffix not in SUFFIXES or not file.is_file() or file.stat().st_size > LONGEST_FILE:
            continue
        for text in file.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            digest = hashlib.blake2b(text.strip().encode(), digest_size=8).digest()
            if len(text) >= SHORTEST and digest not in seen:
                seen.add(digest)
                yield text.strip()


def texts(directories: list[Path], length: int) -> Iterator[str]:
    """Yield texts of this length, joined from paragraphs, for ever."""
    text = ""
    for paragraph in _again_and_again(paragraphs(directories)):
        text += paragraph + "\n"
        while len(text) >= length:
            yield text[:length]
            text = text[length:]


def _again_and_again(found: Iterator[str]) -> Iterator[str]:
    kept = list[str]()
    for paragraph in found:
        kept.append(paragraph)
        yield paragraph
    random = Random(len(kept))
    while kept:
        random.shuffle(kept)
        yield from kept


def write_files(data_dir: Path, count: int, directories: list[Path]) -> int:
    """Write both shared files. Returns how many candidates there are."""
    found = texts(directories, RECORD_BYTES)
    data_dir.mkdir(parents=True)
    number = 0
    with (data_dir / "sft_candidates.jsonl").open("w") as all, (data_dir / "sft_approved.jsonl").open("w") as approved:
        for number, text in enumerate(itertools.islice(found, count), 1):
            content = candidate(number, text[:500], text[500:900])
            room = RECORD_BYTES - len(json.dumps(content)) - 1
            # What JSON has to escape is longer than it was.
            content["model_response"] = text[900:]
            while content["model_response"] and (over := len(json.dumps(content["model_response"])) - 2 - room) > 0:
                content["model_response"] = content["model_response"][: -max(1, over // 6)]
            line = json.dumps(content) + "\n"
            all.write(line)
            if number % APPROVED_EACH == 0:
                approved.write(line)
    return number


def main() -> None:
    """Print the sizes."""
    directories = [Path(each) for each in sys.argv[2:] or PLACES if Path(each).is_dir()]
    with tempfile.TemporaryDirectory() as name:
        place = DataDirectory(Path(name) / "data")
        count = write_files(place.root, int(sys.argv[1]), directories)
        with sides.service(Path(name)) as service:
            service.settle()
        files = sum(path.stat().st_size for path in place.root.glob("*.jsonl"))
        ledger = place.ledger.stat().st_size
        segments = sum(path.stat().st_size for path in place.examples.rglob("*") if path.is_file())
    print(f"{count:,} candidates: files of {files / 1e6:,.0f} MB")
    for name, size in (("ledger", ledger), ("a worker's copy of the examples", segments)):
        print(f"{name}: {size / 1e6:,.0f} MB, {size / files:.2f} of the files")


if __name__ == "__main__":
    main()
