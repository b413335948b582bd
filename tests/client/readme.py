"""The snippets of the client's README, and a server for them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT, SECRET, Server, record, write_records

README = (ROOT / "clients/python/README.md").read_text()
TRAINING = ("trl", "torch")
APPROVED = 60


@dataclass(frozen=True)
class Snippet:
    """A block of the README: its language, its text, and what stands above it."""

    language: str
    text: str
    number: int

    def adapted(self, server: Server) -> str:
        """The text with a test's server in place of the README's."""
        text = self.text.replace("127.0.0.1:50052", server.address).replace("a-secret", SECRET)
        return text.replace("$PWD/examples", str(ROOT / "examples"))

    @property
    def needs_training(self) -> bool:
        return any(f"from {name}" in self.text for name in TRAINING)


SNIPPETS = [
    Snippet(language, text, number)
    for number, (language, text) in enumerate(re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
]


def snippets(language: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.language == language]


def serve(directory: Path) -> Server:
    """A server with candidates in review, and approved examples."""
    server = Server(directory)
    write_records(server.candidates, [record(f"c{n}", task_type="code") for n in range(3)])
    approved = [record(f"e{n}", status="approved", corrected_response=f"better {n}") for n in range(APPROVED)]
    write_records(server.approved, approved)
    return server.start()
