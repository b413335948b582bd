"""The processes of the service: a supervisor, one mirror, and one or more workers.

Owns
    `avocet-grpc serve` is the supervisor. It holds the data directory and the port, starts the others as fresh
    interpreters, and replaces those that die or do not answer. It opens neither the ledger nor the shared files.

May import
    Every room but `cli`. `worker` and `mirror_process` put the parts together.

Reading order
    `supervisor`; then `child`, `parent`, `messages`, `worker`, `mirror_process`, `bells`, `pulse`

The life of a service
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

Rules
    - Over PostgreSQL a mirror is Running once it keeps the files (`keeper_process`), or could not get them at the first
      try: another server keeps them, or the database did not answer. Calls do not wait for a keeper.
    - Every process dies with the supervisor. One that finds the ledger's storage failed says Failed. The supervisor
      kills the others before they write again, and ends with exit code 5.
"""
