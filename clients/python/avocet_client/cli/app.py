"""The commands."""

from __future__ import annotations

from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from avocet_client import __version__
from avocet_client.cli.candidate_view import candidate_panel
from avocet_client.cli.drafts import kept
from avocet_client.cli.editor import edit
from avocet_client.cli.export import export
from avocet_client.cli.http import legacy, web
from avocet_client.cli.ingest import ingest
from avocet_client.cli.message_draft import read_message
from avocet_client.cli.options import ActionName, Category, OrderName, RequestId, Reviewer, word
from avocet_client.cli.plain import plain
from avocet_client.cli.review import review
from avocet_client.cli.screen import text
from avocet_client.cli.session import EXIT_CODES, Exit, Session, complain, with_session
from avocet_client.cli.settings import config_path
from avocet_client.cli.tables import queue_table, runs_table, stats_bars
from avocet_client.errors import CorrectionsError, error_of_call
from avocet_client.words import CandidateFilter

SERVICE = "avocet.corrections.v1.CorrectionsService"
HEALTH_SECONDS = 10

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
    page = session.client.list_runs(page_size=500)
    found = list(page.runs)
    while page.next_page_token:
        page = session.client.list_runs(page_size=500, page_token=page.next_page_token)
        found += page.runs
    session.show([plain(run) for run in found], lambda: runs_table(found))


def import_run(session: Session, run_id: Annotated[str, typer.Argument(help="From 'avocet runs'.")]) -> None:
    """Take the candidates of a benchmark run into review. A second import of it does no harm."""
    with session.err.status(text(f"importing {run_id}")):
        done = session.client.import_run(run_id)
    words = f"{done.imported:,} imported, {done.skipped:,} known already, {done.malformed:,} malformed lines"
    if done.conflicts:
        words += f", {done.conflicts:,} not taken: their ids are known with other content"
    problems = [f"line {one.line}: {one.reason}{f' ({one.id})' if one.id else ''}" for one in done.problems]
    session.show(plain(done), lambda: text("\n".join([words, *problems])))


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


def submit(
    session: Session,
    id: Annotated[str, typer.Argument(help="The candidate's id.")],
    action: Annotated[ActionName, typer.Argument(help="What to do with it.")] = ActionName.correct,
    correction: Annotated[
        str | None, typer.Option("--text", "-t", metavar="TEXT", help="The correction; without it $EDITOR opens.")
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="JSON", help="The correction as a message, if it has tool calls."),
    ] = None,
    category: Category = None,
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> int | None:
    """Decide a candidate: correct, discard or flag it.

    Without --text and --message, 'correct' opens $EDITOR on the model's own response.
    """
    typed, revision = None, None
    stated = None if message is None else read_message(message)
    if action is ActionName.correct and correction is None and stated is None:
        candidate = session.client.get_candidate(id)
        typed, revision = edit(candidate.model_response), candidate.revision
        if typed is None:
            session.err.print("Nothing was changed, so nothing is submitted.")
            return Exit.REFUSED
    try:
        decided = session.client.submit(
            id,
            action=word(action),
            corrected_response=typed or correction or "",
            corrected_message=stated,
            failure_category=word(category),
            reviewer=reviewer or "",
            expected_revision=revision,
            request_id=request_id,
        )
    except CorrectionsError:
        if typed is not None:
            complain(session.err, f"Your correction is kept in {kept(typed)}", style="yellow")
        raise
    session.show(plain(decided), lambda: candidate_panel(decided))
    return None


def undo(
    session: Session,
    id: Annotated[str, typer.Argument(help="The candidate's id.")],
    reviewer: Reviewer = None,
    request_id: RequestId = None,
) -> None:
    """Take the last decision on a candidate back."""
    undone = session.client.undo(id, reviewer=reviewer or "", request_id=request_id)
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
    stub: Any = health_pb2_grpc.HealthStub(session.client.channel())
    try:
        answer = stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=HEALTH_SECONDS)
    except grpc.RpcError as error:
        raise error_of_call(error) from None
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    session.show({"status": status}, lambda: status)
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else Exit.UNAVAILABLE


for _command in (runs, queue, show, submit, undo, review, export, stats, config, ingest, health, web, legacy):
    app.command()(with_session(_command))
app.command("import")(with_session(import_run))
