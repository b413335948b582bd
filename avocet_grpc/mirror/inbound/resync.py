"""Catching up with a ledger whose change feed no longer reaches back to what the file has."""

from __future__ import annotations

from avocet_grpc.core.ports.mirror import Changed, Cursor
from avocet_grpc.mirror.feed import LAST_KEY
from avocet_grpc.mirror.image import FileImage
from avocet_grpc.mirror.lines import Kind, Lines, Mark, owed_record
from avocet_grpc.mirror.session import Session

AT_ONCE = 1_000


def resync(session: Session, image: FileImage) -> FileImage:
    """Compare all rows with all records, the index as the base: what the ledger no longer has was removed by it.

    Rows are marked, and the outbox writes what they owe. Returns the image after it.
    """
    with session.index.transaction():
        with session.ledger.view() as view:
            head = view.head()
        _mark_rows(session)
        _mark_records(session)
        image = image.levelled(Cursor(head.revision, LAST_KEY))
        session.index.save_image(session.file, image)
    return image


def _mark_rows(session: Session) -> None:
    after = ""
    while ids := session.index.ids(session.file, after, AT_ONCE):
        after = ids[-1]
        lines, now = session.index.lines(session.file, ids), session.changed(ids)
        for id in ids:
            _mark(lines, id, now.get(id))
        session.index.save(lines)


def _mark(lines: Lines, id: str, state: Changed | None) -> None:
    is_gone = state is None or state.raw is None
    for row in lines.of(id):
        removed = state.removed_revision if state is not None else None
        is_older = removed is None or row.revision < removed
        if (row.kind is Kind.RECORD and is_gone) or (row.kind is Kind.DUPLICATE and is_older):
            if row.stands:
                lines.change(row, kind=Kind.STALE, mark=Mark.NONE)
            else:
                lines.remove(row)
        elif row.kind is Kind.RECORD and state is not None and row.content != state.digest:
            lines.change(row, mark=Mark.OWED)


def _mark_records(session: Session) -> None:
    after = 0
    while True:
        with session.ledger.view() as view:
            page = view.records(session.file, after, AT_ONCE)
        if not page:
            return
        after = page[-1].key
        lines = session.index.lines(session.file, [one.id for one in page])
        for one in page:
            if lines.record(one.id) is None and one.raw is not None:
                lines.add(owed_record(session.file, one))
        session.index.save(lines)
