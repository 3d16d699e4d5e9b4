"""Tables for people: on a narrow screen nothing is cut that somebody may have to type."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from cli import cost, ls
from contract.receipt import Attempt, Receipt

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
INSTANCE = "i-0123456789abcdef0"
RUN = "a-name-as-long-as-may-be-30-ch"


def row(run: str) -> ls.Row:
    return ls.Row(
        run=run,
        phase="training",
        instances=(INSTANCE,),
        desired=1,
        step=4210,
        steps=12000,
        checkpoint_step=4180,
        checkpoint_age_seconds=21,
        usd=0.31,
        usd_at_most=4.21,
        stop_at=NOW + timedelta(hours=6),
    )


def test_a_run_and_its_instance_can_be_read_at_eighty_columns() -> None:
    console = Console(file=io.StringIO(), width=80)
    ls.show(ls.Listing(region="us-east-1", runs=(row("demo"), row(RUN))), NOW, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert text.count(INSTANCE) == 2 and text.count("4210/12000") == 2
    columns = [line[:10].strip() for line in text.splitlines()]
    assert "".join(columns[columns.index("demo") + 1 :]).replace(" ", "").endswith(RUN)


@pytest.mark.parametrize("width", [80, 120])
def test_the_attempts_of_a_receipt_can_be_read(width: int) -> None:
    attempt = Attempt(
        number=1,
        instance=INSTANCE,
        type="g4dn.xlarge",
        zone="us-east-1a",
        began=NOW,
        ended=NOW,
        end_is_certain=True,
        seconds=3421,
        usd_per_hour=0.2039,
        usd=0.1937,
        on_demand_usd=0.4998,
    )
    receipt = Receipt(
        run="demo",
        region="us-east-1",
        made_at=NOW,
        attempts=(attempt,),
        lines=(),
        instances_usd=0.1937,
        total_usd=0.1937,
        on_demand_usd=0.4998,
        saved_percent=61.2,
        not_charged_usd=0,
        billed=None,
        notes=(),
    )
    console = Console(file=io.StringIO(), width=width)
    cost.show(receipt, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    words = {INSTANCE, "g4dn.xlarge", "us-east-1a", "12:00:00", "3421", "0.2039", "0.1937", "demand", "0.4998"}
    assert words <= set(text.split())
