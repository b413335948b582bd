"""Who may call what: a table from each method's full name to its role; a method that is not in it is refused."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Role(enum.StrEnum):
    """What a token's bearer may do. `reviewer` is a `reader` too, and `admin` is everything."""

    READER = "reader"
    REVIEWER = "reviewer"
    INGEST = "ingest"
    EXPORT = "export"
    ADMIN = "admin"


INCLUDED: Mapping[Role, frozenset[Role]] = MappingProxyType(
    {role: frozenset({role}) for role in Role}
    | {Role.REVIEWER: frozenset({Role.REVIEWER, Role.READER}), Role.ADMIN: frozenset(Role)}
)
"""The roles that each role brings."""

_OURS = "/avocet.corrections.v1.CorrectionsService"
_HEALTH = "/grpc.health.v1.Health"
_REFLECTION = "/grpc.reflection"
_CHANNELZ = "/grpc.channelz.v1.Channelz"

POLICIES: Mapping[str, Role | None] = MappingProxyType(
    {
        f"{_OURS}/ListRuns": Role.READER,
        f"{_OURS}/Import": Role.REVIEWER,
        f"{_OURS}/Queue": Role.READER,
        f"{_OURS}/GetCandidate": Role.READER,
        f"{_OURS}/Submit": Role.REVIEWER,
        f"{_OURS}/Undo": Role.REVIEWER,
        f"{_OURS}/StreamExport": Role.EXPORT,
        f"{_OURS}/Stats": Role.READER,
        f"{_OURS}/GetConfig": Role.READER,
        f"{_OURS}/SetConfig": Role.ADMIN,
        f"{_OURS}/Ingest": Role.INGEST,
        f"{_OURS}/StreamIngest": Role.INGEST,
        f"{_OURS}/GetVersion": Role.READER,
        f"{_OURS}/ListCandidates": Role.READER,
        f"{_OURS}/ListHistory": Role.READER,
        f"{_OURS}/Watch": Role.READER,
        f"{_OURS}/Claim": Role.REVIEWER,
        f"{_OURS}/RenewClaims": Role.REVIEWER,
        f"{_OURS}/ReleaseClaims": Role.REVIEWER,
        f"{_OURS}/BatchSubmit": Role.REVIEWER,
        f"{_OURS}/UploadRun": Role.REVIEWER,
        f"{_OURS}/CreateSnapshot": Role.EXPORT,
        f"{_OURS}/GetSnapshot": Role.EXPORT,
        f"{_OURS}/ListSnapshots": Role.EXPORT,
        f"{_OURS}/DeleteSnapshot": Role.ADMIN,
        # Probes and load balancers have no tokens, and learn nothing but whether the server serves.
        f"{_HEALTH}/Check": None,
        f"{_HEALTH}/Watch": None,
        f"{_REFLECTION}.v1.ServerReflection/ServerReflectionInfo": Role.READER,
        f"{_REFLECTION}.v1alpha.ServerReflection/ServerReflectionInfo": Role.READER,
        f"{_CHANNELZ}/GetTopChannels": Role.ADMIN,
        f"{_CHANNELZ}/GetServers": Role.ADMIN,
        f"{_CHANNELZ}/GetServer": Role.ADMIN,
        f"{_CHANNELZ}/GetServerSockets": Role.ADMIN,
        f"{_CHANNELZ}/GetChannel": Role.ADMIN,
        f"{_CHANNELZ}/GetSubchannel": Role.ADMIN,
        f"{_CHANNELZ}/GetSocket": Role.ADMIN,
    }
)
"""None: every caller may call it. Without a tokens file only the methods of `ingest` require a token."""
