"""Whether what the claimers saw can be: an independent reading of their logs, which knows nothing of the service.

Times are Unix times of one machine. The server answered each call between `began` and `ended`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class Lease:
    """One claim: when it was handed out at the latest, and when it ended at the latest, as far as its holder knows."""

    id: str
    handed_out: float
    ends: float
    released_from: float = float("inf")
    decided_from: float = float("inf")
    events: list[Event] = field(default_factory=list)

    @property
    def certainly_lives_until(self) -> float:
        """Before this moment nobody else can have got the candidate."""
        return min(self.ends, self.released_from, self.decided_from)


def violations(events: list[Event]) -> list[str]:
    """What must not have happened; empty if all is well."""
    leases = leases_of(events)
    return [*handed_out_twice(leases), *decided_under_a_lost_lease(events, leases), *decided_twice(events)]


def leases_of(events: list[Event]) -> dict[str, Lease]:
    leases: dict[str, Lease] = {}
    for event in sorted(events, key=lambda event: event["ended"]):
        if event["event"] == "claim":
            leases[event["lease"]] = Lease(event["id"], event["ended"], event["expires"])
            continue
        lease = leases[event["lease"]]
        lease.events.append(event)
        if event["event"] == "renew":
            lease.ends = max(lease.ends, event["expires"])
        elif event["event"] == "release":
            lease.released_from = min(lease.released_from, event["began"])
        elif not event["reason"]:
            lease.decided_from = min(lease.decided_from, event["began"])
    return leases


def leases_by_id(leases: dict[str, Lease]) -> dict[str, list[Lease]]:
    by_id: dict[str, list[Lease]] = defaultdict(list)
    for lease in leases.values():
        by_id[lease.id].append(lease)
    return by_id


def handed_out_twice(leases: dict[str, Lease]) -> list[str]:
    """A claim that was answered while an earlier one on the same candidate certainly lived."""
    found = []
    for id, same in leases_by_id(leases).items():
        same.sort(key=lambda lease: lease.handed_out)
        for n, first in enumerate(same):
            for later in same[n + 1 :]:
                if later.handed_out < first.certainly_lives_until:
                    found.append(f"{id} was handed out again at {later.handed_out}, before {first.ends}")
    return found


def decided_under_a_lost_lease(events: list[Event], leases: dict[str, Lease]) -> list[str]:
    """A decision that was accepted though its lease had ended before it was asked for."""
    found = []
    by_id = leases_by_id(leases)
    for event in events:
        if event["event"] != "decide" or event["reason"]:
            continue
        lease = leases[event["lease"]]
        if event["began"] > lease.ends:
            found.append(f"{event['id']} was decided at {event['began']} by a lease that ended at {lease.ends}")
        for other in by_id[lease.id]:
            if other is not lease and lease.handed_out < other.handed_out < event["began"]:
                found.append(f"{event['id']} was decided by a lease though another one was handed out since")
    return found


def decided_twice(events: list[Event]) -> list[str]:
    decided: dict[str, int] = defaultdict(int)
    for event in events:
        decided[event["id"]] += event["event"] == "decide" and not event["reason"]
    return [f"{id} was decided {times} times" for id, times in decided.items() if times > 1]
