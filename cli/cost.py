"""`signspot cost`: a receipt. Enters: a run, deployed or not. Leaves: what each instance cost, and what beside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.live import Client
from cli.tariff import bill, on_demand_price, spot_prices
from cli.traces import sightings, traces_in, traces_of
from contract.receipt import Receipt, make_receipt

WIDE = 100
"""Columns from which an attempt has one line instead of two."""


def receipt_of(
    client: Client,
    run: str,
    now: datetime,
    *,
    folder: Path | None = None,
    billed: bool = False,
    compare: bool = True,
    outputs: Mapping[str, str] | None = None,
) -> Receipt:
    """`folder`: what `fetch` wrote, in place of the bucket. `compare`: with on-demand prices. `outputs`: of the run's
    stack, where they are known.

    Raises:
        CloudError: nothing is left of the run, or AWS refuses.
        StorageError: S3 refuses, or the folder holds no events.
    """
    region = client("ec2").meta.region_name
    traces = traces_in(folder) if folder else traces_of(client, run, outputs, now)
    seen = list(sightings(client, run, traces).values())
    on_demand: dict[str, float] = {}
    for type_ in sorted({one.machine.type for one in seen if one.machine.type}) if compare else ():
        if price := on_demand_price(client, type_, region):
            on_demand[type_] = price
        else:
            traces.notes.append(f"AWS does not say what {type_} costs on demand in {region}")
    return make_receipt(
        run,
        region,
        seen,
        spot=spot_prices(client, seen, now, traces.notes),
        on_demand=on_demand,
        highest=traces.highest,
        gb_hours=traces.gb_hours,
        now=now,
        billed=bill(client, run, seen, now, traces.notes) if billed else None,
        notes=traces.notes,
    )


def show(receipt: Receipt, console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    between = " " if console.width >= WIDE else "\n"
    for name in ("#", "instance", "where", f"began{between}(UTC)", "seconds", "$/hour", "$", f"on{between}demand"):
        table.add_column(name)
    for one in receipt.attempts:
        table.add_row(
            str(one.number),
            one.instance,
            f"{one.type or '?'}{between}{one.zone or '?'}",
            f"{one.began:%m-%d}{between}{one.began:%H:%M:%S}" if one.began else "?",
            f"{one.seconds:.0f}{'' if one.end_is_certain else ' ~'}{' …' if one.ended is None and one.began else ''}",
            "?" if one.usd_per_hour is None else f"{one.usd_per_hour:.4f}",
            f"{one.usd:.4f}",
            "?" if one.on_demand_usd is None else f"{one.on_demand_usd:.4f}",
        )
    console.print(table)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("instances", f"${receipt.instances_usd:.4f}", "spot prices then, as AWS tells them")
    for line in receipt.lines:
        facts.add_row(line.what, f"${line.usd:.4f}", f"estimate: {line.quantity}; {line.source}")
    facts.add_row("total", f"${receipt.total_usd:.4f}", "")
    if receipt.on_demand_usd is not None and receipt.saved_percent is not None:
        facts.add_row(
            "on demand", f"${receipt.on_demand_usd:.4f}", f"the instances alone; {receipt.saved_percent:.0f} % saved"
        )
    if receipt.not_charged_usd:
        said = "contained above: AWS does not charge what it interrupts itself in its first hour"
        facts.add_row("not charged", f"${receipt.not_charged_usd:.4f}", said)
    if receipt.billed:
        services = ", ".join(f"{name} ${usd:.4f}" for name, usd in sorted(receipt.billed.services.items()))
        facts.add_row("billed", f"${receipt.billed.usd:.4f}", f"until {receipt.billed.until:%Y-%m-%d}: {services}")
    console.print(facts)
    for note in receipt.notes:
        console.print(f"note: {note}", markup=False)
