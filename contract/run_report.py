"""A run as one page, which the box writes at its end and the laptop whenever it is asked. Enters: what is known of it.
Leaves: HTML; what could not be found out is said in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from contract.page import Band, Mark, Section, code, page, paragraph, span_chart, table
from contract.receipt import Receipt
from contract.report import Training, training_sections
from contract.status import Event, Status

TAKEN = ("interrupted", "stopped", "stalled", "failed", "expired")
"""Kinds of events that end or hold up an attempt."""
EVENTS_SHOWN = 400


@dataclass(frozen=True)
class Attempt:
    """One instance of the run, as its events tell it."""

    number: int
    instance: str
    where: str
    began: datetime
    ended: datetime
    """Of its last event."""
    from_step: int
    to_step: int
    how: str
    """Kind of its last event."""
    lost: bool
    """Whether it ended before the run did."""


@dataclass
class Found:
    """What there is of a run."""

    name: str
    training: Training
    events: Sequence[Event] = ()
    status: Status | None = None
    receipt: Receipt | None = None
    no_receipt: str = ""
    """Why there is none."""
    notes: list[str] = field(default_factory=list)


def page_of(found: Found, now: datetime) -> str:
    attempts = attempts_of(found.events, found.status)
    bands = [Band(str(one.number), one.from_step, one.to_step) for one in attempts if one.to_step > one.from_step]
    marks = [Mark(f"{one.instance}: {one.how}", one.to_step) for one in attempts if one.lost and one.to_step]
    first, *rest = training_sections(found.training, bands, marks)
    sections = [
        Section(first.title, _state(found) + first.html),
        rest[0],
        Section("Attempts and interruptions", _attempts(found.events, attempts)),
        *rest[1:3],
        Section("Receipt", _receipt(found)),
        *rest[3:-1],
        Section(rest[-1].title, rest[-1].html + (_repeat(found.name) if found.events else "")),
    ]
    return page(f"signspot: {found.name}", f"Written {_minute(now)}", sections)


def attempts_of(events: Sequence[Event], status: Status | None = None) -> list[Attempt]:
    """One for each instance, in the order in which they began.

    A box that was taken without a word said no last step: it is the one from which the next went on.
    """
    by_instance: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda event: event.time):
        by_instance.setdefault(event.instance, []).append(event)
    found: list[Attempt] = []
    known = status.progress.step if status else 0
    for instance, told in reversed(by_instance.items()):
        machine = next((event.machine for event in told if event.machine), None)
        restored = next((event.step for event in told if event.kind == "restored"), 0)
        found.append(
            Attempt(
                number=len(by_instance) - len(found),
                instance=instance,
                where=" ".join(filter(None, (machine.type, machine.zone))) if machine else "",
                began=(machine.launched if machine else None) or told[0].time,
                ended=told[-1].time,
                from_step=restored,
                to_step=max(restored, known, *(event.step for event in told)),
                how=told[-1].kind,
                lost=bool(found) or told[-1].kind in TAKEN,
            )
        )
        known = restored
    return found[::-1]


def _state(found: Found) -> str:
    status = found.status
    if status is None:
        return ""
    reason = f": {status.reason}" if status.reason else ""
    return paragraph(f"The run is {status.phase}{reason}. Its last word is of {_minute(status.heartbeat)}.")


def _attempts(events: Sequence[Event], attempts: Sequence[Attempt]) -> str:
    if not attempts:
        return paragraph("There are no events: this was trained by itself, or they were not fetched.", dim=True)
    zero = min(one.began for one in attempts)
    whole_time = max(one.ended for one in attempts) - zero
    seconds, unit = (3600, "hours") if whole_time.total_seconds() > 2 * 3600 else (60, "minutes")

    def at(time: datetime) -> float:
        return (time - zero).total_seconds() / seconds

    rows = []
    for one in attempts:
        label = f"{one.number}  {one.instance}  {one.where}  → {one.how}"
        marks = [
            Mark(f"{event.kind}: {event.message}", at(event.time))
            for event in events
            if event.instance == one.instance and event.kind in (*TAKEN, "notice")
        ]
        rows.append((Band(label, at(one.began), at(one.ended)), marks))
    lost = sum(one.lost for one in attempts)
    listed = [
        (
            one.number,
            one.instance,
            one.where,
            _minute(one.began),
            round((one.ended - one.began).total_seconds()),
            f"{one.from_step} → {one.to_step}",
            one.how,
        )
        for one in attempts
    ]
    shown = sorted(events, key=lambda event: event.time)[-EVENTS_SHOWN:]
    told = [
        (f"{event.time:%m-%d %H:%M:%S}", event.instance, event.kind, event.step or None, event.message)
        for event in shown
    ]
    said = f"{len(attempts)} instances; {lost} ended before the run was done."
    if len(shown) < len(events):
        said += f" Of {len(events)} events the last {len(shown)} are shown."
    return (
        span_chart("Instances over time", f"{unit} from {_minute(zero)}", rows)
        + paragraph(said)
        + table(("#", "instance", "where", "began", "seconds seen", "steps", "last event"), listed)
        + paragraph("Every event (UTC):")
        + table(("time", "instance", "event", "step", "what was said"), told, tall=True)
    )


def _receipt(found: Found) -> str:
    receipt = found.receipt
    if receipt is None:
        why = found.no_receipt or "There is no receipt: nothing ran in an account, or its events were not fetched."
        return paragraph(why, dim=True)
    rows = [
        (
            one.number,
            one.instance,
            f"{one.type} {one.zone}",
            f"{one.seconds:.0f}{'' if one.end_is_certain else ' ~'}",
            _usd(one.usd_per_hour),
            _usd(one.usd),
            _usd(one.on_demand_usd),
        )
        for one in receipt.attempts
    ]
    known = all(one.usd_per_hour is not None for one in receipt.attempts)
    sums: list[tuple[str, str | None, str]] = [
        ("instances", _usd(receipt.instances_usd), "spot prices then" if known else "at most")
    ]
    sums += [(line.what, _usd(line.usd), f"estimate: {line.quantity}; {line.source}") for line in receipt.lines]
    sums.append(("total", _usd(receipt.total_usd), f"as of {_minute(receipt.made_at)}"))
    if receipt.saved_percent is not None:
        saved = f"the instances alone; {receipt.saved_percent:.0f} % saved"
        sums.append(("on demand", _usd(receipt.on_demand_usd), saved))
    if receipt.not_charged_usd:
        said = "contained above: AWS does not charge what it interrupts itself in its first hour"
        sums.append(("not charged", _usd(receipt.not_charged_usd), said))
    notes = "".join(paragraph(f"Note: {note}", dim=True) for note in receipt.notes)
    head = ("#", "instance", "where", "seconds", "$/h then", "cost", "on demand")
    return table(head, rows) + table(("", "", ""), sums) + notes


def _repeat(run: str) -> str:
    return paragraph("What it came to:") + code(f"signspot fetch {run}\nsignspot cost {run}\nsignspot report {run}")


def _usd(amount: float | None) -> str | None:
    return None if amount is None else f"${amount:.4f}"


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
