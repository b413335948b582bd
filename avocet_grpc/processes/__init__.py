"""The processes of the service: a supervisor, one mirror, and one or more workers.

`avocet-grpc serve` is the supervisor. It holds the data directory and the port, starts the others as fresh
interpreters, and restarts those that die. It opens neither the ledger nor the shared files.

May import: every room but `cli`. `worker` and `mirror_process` put the parts together. Read `supervisor` first, then
`child` and `parent` (the two ends of one socket), `worker`, `mirror_process`, `bells` (waking after a commit).

The life of a service, with the messages of `messages.py`:

    supervisor                      mirror                    workers
    takes directory and port
    Begin ------------------------> imports               --> check flags, tokens, certificate
    <------------------------------ Prepared              <-- Prepared
    Go ---------------------------> adopts the files
    <------------------------------ Running
    Go --------------------------------------------------->   open the ledger, listen
    <-------------------------------------------------------- Running
    prints 'listening on HOST:PORT'
    SIGTERM: Stop ---------------------------------------->   answer what is under way, end
    Stop -------------------------> brings the files level, compacts, ends

Over PostgreSQL a server has a mirror only if it was given a data directory. That one is Running once it keeps the files
(`keeper_process`), or once it knows that another server does.

Every process dies with the supervisor. A process that finds the ledger's storage failed says Failed. The supervisor
kills the others before they write again, and all end with exit code 5.
"""
