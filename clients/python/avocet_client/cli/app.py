"""The commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from avocet_client import __version__
from avocet_client.cli import snapshots
from avocet_client.cli.batch import batch
from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.changes import history, watch
from avocet_client.cli.export import export
from avocet_client.cli.http import legacy, web
from avocet_client.cli.ingest import ingest
from avocet_client.cli.listing import list_candidates
from avocet_client.cli.options import OrderName, RequestId, Reviewer, word
from avocet_client.cli.plain import plain
from avocet_client.cli.review.command import review
from avocet_client.cli.screen import text
from avocet_client.cli.session import EXIT_CODES, Exit, Session, with_session
from avocet_client.cli.settings import config_path
from avocet_client.cli.submit import submit
from avocet_client.cli.tables import queue_table, runs_table, stats_bars
from avocet_client.cli.uploads import import_run, upload
from avocet_client.words import CandidateFilter

app = typer.Typer(
    name="avocet",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES.replace("\n", " "),
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"avocet {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Review what models answered, and export the corrections to trainers.

    The service's address and your token come from flags, from AVOCET_ADDRESS and AVOCET_TOKEN, or from
    ~/.config/avocet/client.toml (address, token, tls, ca, cert, key, reviewer), in this order.
    """


def runs(session: Session) -> None:
    """List the benchmark runs, newest first."""
    found = list(session.client.runs(page_size=500))
    session.show([plain(run) for run in found], lambda: runs_table(found))


def queue(
    session: Session,
    filter: CandidateFilter,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 20,
    order: Annotated[OrderName, typer.Option(help="What comes first.")] = OrderName.file,
    page_token: Annotated[str, typer.Option(help="Continue where another page ended.")] = "",
) -> None:
    """List what is in review."""
    page = session.client.queue(per_page=limit, page_token=page_token, filter=filter, order=word(order))
    session.show(plain(page), lambda: queue_table(page))


def show(session: Session, id: Annotated[str, typer.Argument(help="The candidate's id.")]) -> None:
    """Show a candidate whole."""
    candidate = session.client.get_candidate(id)
    session.show(plain(candidate), lambda: candidate_panel(candidate))


def undo(
    session: Session,
    id: Annotated[str, typer.Argument(help="The candidate's id.")],
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> None:
    """Take the last decision on a candidate back."""
    undone = session.client.undo(id, reviewer=session.reviewer(reviewer), request_id=request_id)
    session.show(plain(undone), lambda: candidate_panel(undone))


def stats(session: Session, filter: CandidateFilter) -> None:
    """Count the candidates."""
    counted = session.client.stats(filter=filter)
    session.show(plain(counted), lambda: stats_bars(counted))


def config(
    session: Session,
    bench_results_dir: Annotated[
        str | None, typer.Option(help="Set the directory of benchmark runs on the server; '' for none.")
    ] = None,
) -> None:
    """Show the service's configuration, or change it."""
    if bench_results_dir is None:
        now = session.client.get_config()
    else:
        now = session.client.set_config(bench_results_dir=bench_results_dir)
    lines = f"bench_results_dir: {now.bench_results_dir or '(none)'}\nsettings of this command: {config_path()}"
    session.show(plain(now), lambda: text(lines))


def health(session: Session) -> int:
    """Ask whether the service serves. Exits with 6 if it does not."""
    status = session.client.health().upper()
    session.show({"status": status}, lambda: status)
    return 0 if status == "SERVING" else Exit.UNAVAILABLE


def version(session: Session) -> None:
    """Print the version of this command, and of the service. '--version' asks no service."""
    if not session.as_json:
        session.out.print(f"avocet {__version__}")
    server = session.client.get_version()
    since = server.started_at.ToJsonString()
    words = f"service {server.version}, schema {server.schema_version}, engine {server.engine}, up since {since}"
    session.show({"client": __version__, "server": plain(server)}, lambda: words)


GROUPS: dict[str, list[tuple[str, Callable[..., int | None], str]]] = {
    "Review": [
        ("queue", queue, "avocet queue --order quality --limit 5"),
        ("review", review, "avocet review --task-type code"),
        ("show", show, "avocet show run-0007"),
        ("submit", submit, 'avocet submit run-0007 correct --text "Blue light scatters most." --category wrong_answer'),
        ("undo", undo, "avocet undo run-0007"),
        ("batch", batch, "avocet batch decisions.jsonl --dry-run"),
    ],
    "Look": [
        ("list", list_candidates, 'avocet list --status approved --text "blue light" --limit 50'),
        ("history", history, "avocet history --reviewer kim --limit 10"),
        ("watch", watch, "avocet watch --json --state watch.json"),
        ("stats", stats, "avocet stats --run 2025-03-01-120000"),
    ],
    "Bring candidates and corrections in": [
        ("runs", runs, "avocet runs"),
        ("import", import_run, "avocet import 2025-03-01-120000 --on-conflict qualify"),
        ("upload", upload, "avocet upload ./bench/2025-03-01-120000"),
        ("ingest", ingest, "avocet ingest corrections.jsonl"),
    ],
    "Train": [
        ("export", export, "avocet export --format preference --out pairs.jsonl"),
    ],
    "Run it": [
        ("health", health, "avocet health"),
        ("version", version, "avocet version --json"),
        ("config", config, "avocet config --bench-results-dir /srv/bench"),
        ("web", web, "avocet web --port 0"),
        ("legacy", legacy, "avocet legacy --listen 127.0.0.1:8080"),
    ],
}
"""The commands as the overview has them: name, function, example."""
SNAPSHOTS: list[tuple[str, Callable[..., int | None], str]] = [
    ("create", snapshots.create, 'avocet snapshot create sft-2025-03 --note "first training run"'),
    ("list", snapshots.list_all, "avocet snapshot list"),
    ("show", snapshots.show, "avocet snapshot show sft-2025-03"),
    ("export", snapshots.export_snapshot, "avocet snapshot export sft-2025-03 --format sft --out sft.jsonl"),
    ("delete", snapshots.delete, "avocet snapshot delete sft-2025-03"),
]


def _add(to: typer.Typer, name: str, command: Callable[..., int | None], example: str, panel: str | None) -> None:
    to.command(name, epilog=f"Example: {example}", rich_help_panel=panel)(with_session(command))


def _add_all() -> None:
    group = typer.Typer(
        name="snapshot", no_args_is_help=True, help="Name a revision, and export it for a training run."
    )
    for name, command, example in SNAPSHOTS:
        _add(group, name, command, example, None)
    for panel, commands in GROUPS.items():
        for name, command, example in commands:
            _add(app, name, command, example, panel)
    app.add_typer(group, rich_help_panel="Train")


_add_all()
