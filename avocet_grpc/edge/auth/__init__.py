"""Who may call what: the table of roles, tokens, certificates, and the files that hold them.

Owns
    The role that each method requires, who bears which token, TLS, and reading these files again when they change.

May import
    `core.idempotency`, `settings`, `durable`, `foreign_files`; PyYAML and ruamel.yaml; gRPC for TLS alone.

Reading order
    `policy`        a table from a method's full name to its role; what is not in it is refused
    `tokens`        reads and checks the tokens file, which holds digests and no tokens
    `token_file`    changes the tokens file, for the command `avocet-grpc token`
    `bracketed`     the same for a file in flow style or JSON
    `credentials`   which tokens are good now: the tokens file and the ingestion secret
    `tls`           the server's certificate and the CA of clients
    `reloading`     a file that is read again when it changes

Rules
    - A file that cannot be used is logged, and what was read before stays in force.
    - Tokens are compared by digest in constant time, and never logged.
    - The table has exactly the methods that are served; a test compares it with the descriptors.
"""
