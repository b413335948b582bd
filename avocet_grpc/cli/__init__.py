"""The command line `avocet-grpc`: flags in, exit codes out.

Owns
    The commands `serve`, `token`, `keeper`, `store`, `migrate`, `verify`, `rebuild` and `backup`, their flags and
    environment variables, and what they print. The work is done elsewhere: `processes.supervisor`, `maintenance`,
    `edge.auth.token_file`, and `postgres.migrate` and `postgres.keeper` of the store.

May import
    Every room. typer and rich are imported here alone.

Reading order
    `app`           the root command and `serve`, which fills `settings.Settings`
    `maintenance`   `verify`, `rebuild` and `backup`
    `database`      `migrate`
    `keeper`        `keeper status`, `release`, `take-over`
    `store`         `store copy`
    `progress`      how far a long command is
    `output`        what is printed, also if stdout cannot be written
    `paths`, `data_directory`    paths on the command line; a private directory that others laid out is refused
    `token`         `token new`, `list`, `rotate`, `revoke`

Rules
    - An exit code is a member of `exit_codes.ExitCode`.
    - A command that fails prints one line that says why and what to do, and no traceback.
    - Secrets have no flag, since other users can read a command line. A URL of `--store` may have a password all the
      same; PGPASSFILE and PGPASSWORD keep it out.
"""
