"""gRPC and the wire messages. A method checks its request, calls the core, and converts the answer.

Owns
    The server, its limits, health and reflection; the way from a request to a core noun, and from a core noun to a
    response; the code, reason and sentence of each error.

May import
    gRPC, `avocet_client.v1` (the generated messages), `core`, `settings`, `telemetry` and `allocator`. In `auth` alone
    also `durable` and `foreign_files`. No SQL and no shared file.

Reading order
    `servicer`         every RPC, a few lines each
    `parse`, `checks`  requests as core nouns; whatever can be refused without the ledger is refused here
    `async_ledger`     the blocking ports of the core for the event loop
    `convert/`         core nouns as messages
    `status`           the one table from error to code, reason and sentence
    `interceptors/`, `auth/`    what each call passes through
    `exporting`, `watching`, `ingesting`, `uploading`    the streams
    `grpc_server`      puts all of it together

Rules
    - A method has 15 lines at most. It raises errors of the core; the interceptor maps them.
    - A page ends at 3 MB, so that a client with gRPC's default limit of 4 MB can read it. A response of an export ends
      at 500 kB, one of Watch at 512 KB at most. Whatever is larger comes alone.
    - Nothing of a request is read before its caller is known.
"""
