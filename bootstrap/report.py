"""The run's report, written by the box that ends it. Enters: a box whose work is saved. Leaves: one page in S3.

The role may ask AWS for no price (I3: its own prefix, its own group, nothing else), so the dollars are those of the
highest price that the group accepts, and the page says so; `signspot report RUN` asks for the prices of the day.
"""

from __future__ import annotations

from datetime import UTC, datetime

from bootstrap.state import Box
from bootstrap.sync import status_of
from contract.receipt import Receipt, heads_of, make_receipt, sightings_of
from contract.report import read_training
from contract.run_report import Found, page_of
from contract.status import Event

AT_MOST = (
    "at the highest price that the run accepts, for its boxes may not ask AWS for prices; with those of the day, and "
    "against on demand: signspot report {}"
)


def leave_report(box: Box) -> None:
    """Raises StorageError: S3 refuses."""
    now, state = datetime.now(UTC), box.load()
    left = box.store.left(now)
    events = box.store.read_events(left.events)
    found = Found(
        box.config.run.name,
        read_training(box.paths.model),
        events=events,
        status=status_of(box, state),
        receipt=_receipt(box, events, left.written, left.gb_hours, now),
    )
    box.store.put_report(page_of(found, now), state.lease)


def _receipt(
    box: Box, events: list[Event], written: list[tuple[str, datetime]], gb_hours: float, now: datetime
) -> Receipt:
    seen = sightings_of(events, written)
    if box.config.machine.boxes > 1:
        for head in heads_of(events) & set(seen):
            seen[head].fixed_price = box.config.limits.head_price_per_hour
    run = box.config.run.name
    return make_receipt(
        run,
        box.environment.get("AWS_DEFAULT_REGION", ""),
        seen.values(),
        spot={},
        on_demand={},
        highest=box.highest_price,
        gb_hours=gb_hours,
        now=now,
        notes=[AT_MOST.format(run)],
    )
