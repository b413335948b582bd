"""How a file is compared at a start: the mirror does it, and `verify` says beforehand what it would do."""

from __future__ import annotations

import enum

from avocet_grpc.mirror.image import FileImage, Trust
from avocet_grpc.mirror.session import Session


class Beginning(enum.Enum):
    """What the ledger and the index know of a file at a start."""

    NEITHER = enum.auto()
    """It is loaded."""
    LEDGER_ALONE = enum.auto()
    """The index was lost, or the ledger is not the one that it followed: the file is compared without an index."""
    BOTH = enum.auto()
    """It is compared with the index."""


def begin(session: Session) -> tuple[Beginning, FileImage]:
    """Return how the file is to be compared, and the image of it that the index has."""
    with session.ledger.view() as view:
        head, is_new = view.head(), view.is_empty(session.file)
    noted = session.index.image(session.file)
    image = noted or FileImage()
    if noted is not None and (image.incarnation != head.incarnation or image.level.revision > head.revision):
        image = image.restored("the ledger is not the one that the index followed")
    is_unknown = noted is None or image.trust is Trust.RESTORED
    if is_new and (is_unknown or session.index.is_empty(session.file)):
        return Beginning.NEITHER, image
    return Beginning.LEDGER_ALONE if is_unknown else Beginning.BOTH, image
