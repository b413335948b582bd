"""Generate `src/gen/` from the protos: messages, the service, and each method's deadline.

protoc comes from the project's `dev` extra, its TypeScript plugin from this directory's `node_modules`; both are
pinned. google/rpc's messages and the health service are generated, too, since no package of the public registry has
them. Only the descriptor of the health service is installed, so its proto is generated from that.
"""

from __future__ import annotations

import json
import shutil
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PROTOS = HERE.parent.parent / "protos"
WIRE = PROTOS / "avocet" / "corrections" / "v1"
GOOGLE = Path(sysconfig.get_paths()["purelib"])
TARGET = HERE / "src" / "gen"


def generate_messages() -> None:
    """Generate the service, its messages, and google/rpc's. Raises SystemExit if protoc fails."""
    run_protoc(
        f"--proto_path={PROTOS}",
        f"--proto_path={GOOGLE}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        *(str(path) for path in sorted(WIRE.glob("*.proto"))),
        "google/rpc/error_details.proto",
        "google/rpc/status.proto",
    )


def generate_health() -> None:
    """Generate the health service. Raises SystemExit if protoc fails."""
    health = FileDescriptorSet()
    health_pb2.DESCRIPTOR.CopyToProto(health.file.add())
    with tempfile.NamedTemporaryFile() as file:
        file.write(health.SerializeToString())
        file.flush()
        run_protoc(f"--descriptor_set_in={file.name}", health_pb2.DESCRIPTOR.name)


def run_protoc(*arguments: str) -> None:
    """Run protoc with its TypeScript plugin. Raises SystemExit if it fails."""
    plugin = f"--plugin=protoc-gen-es={HERE / 'node_modules/.bin/protoc-gen-es'}"
    options = [f"--es_out={TARGET}", "--es_opt=target=ts,import_extension=js"]
    status = protoc.main(["protoc", plugin, *options, *arguments])
    if status:
        raise SystemExit(status)


def deadlines_module() -> str:
    """Return the module with what `service_config.json` says of each method."""
    entries = json.loads((WIRE / "service_config.json").read_text("utf-8"))["methodConfig"]
    found = {
        name["method"]: (float(entry["timeout"].rstrip("s")), "retryPolicy" in entry)
        for entry in entries
        for name in entry["name"]
    }
    deadlines = "".join(f"  {method}: {seconds * 1_000:_.0f},\n" for method, (seconds, _) in sorted(found.items()))
    reads = "".join(f'  "{method}",\n' for method, (_, retried) in sorted(found.items()) if retried)
    return (
        "// Generated from service_config.json; do not edit.\n\n"
        "/** Each method's deadline in milliseconds, for a call that states none. */\n"
        f"export const TIMEOUTS_MS: Readonly<Record<string, number>> = {{\n{deadlines}}};\n\n"
        "/** The methods that may be repeated without a request id. */\n"
        f"export const RETRIED_METHODS: ReadonlySet<string> = new Set([\n{reads}]);\n"
    )


def main() -> None:
    """Replace `src/gen/`."""
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    generate_messages()
    generate_health()
    (TARGET / "deadlines.ts").write_text(deadlines_module(), "utf-8")


if __name__ == "__main__":
    main()
