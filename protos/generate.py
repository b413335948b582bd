"""Generate the Python client's `avocet_client/v1/` from the protos beside this script.

The project's `dev` extra pins the toolchain to the oldest that is supported: generated code runs with newer runtimes,
not with older ones. The files are registered under their wire paths (`avocet/corrections/v1/...`). Only the Python
modules live elsewhere, so this script rewrites the imports between them. README.md beside it has other languages.
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
WIRE = PROTOS / "avocet" / "corrections" / "v1"
TARGET = PROTOS.parent / "clients" / "python" / "avocet_client" / "v1"
NAMES = ("corrections", "error_reason")
SERVICE_CONFIG = "service_config.json"
WIRE_MODULE = "avocet.corrections.v1"
CLIENT_MODULE = "avocet_client.v1"


def generate(out: Path) -> None:
    """Run protoc with its Python plugins into `out`. Raises SystemExit when it fails."""
    # protoc finds the mypy plugins on the PATH; they stand beside the interpreter.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out={out}",
            f"--mypy_grpc_out={out}",
            *(str(WIRE / f"{name}.proto") for name in NAMES),
        ]
    )
    if status:
        raise SystemExit(status)


def relocated(text: str) -> str:
    """The generated module's text, with imports that hold inside the client's package."""
    text = text.replace(f"from {WIRE_MODULE} import", f"from {CLIENT_MODULE} import")
    for name in NAMES:
        text = text.replace(f"{WIRE_MODULE}.{name}_pb2", f"{CLIENT_MODULE}.{name}_pb2")
    return text


def main() -> None:
    """Replace every generated module of the client's package, and its copy of the service config."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.glob("*_pb2*.py*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        for made in sorted((Path(scratch) / "avocet" / "corrections" / "v1").iterdir()):
            # A file without a service has nothing for gRPC.
            if made.name.startswith("error_reason_pb2_grpc"):
                continue
            (TARGET / made.name).write_text(relocated(made.read_text("utf-8")), "utf-8")
    (TARGET / SERVICE_CONFIG).write_bytes((WIRE / SERVICE_CONFIG).read_bytes())


if __name__ == "__main__":
    main()
