"""The command `bench flood`."""

from typing import Annotated

import typer

from gossip_counter.bench import flood as flooding
from gossip_counter.bench import options
from gossip_counter.bench.flood import Kind
from gossip_counter.bench.options import Json
from gossip_counter.cluster.running import run


def flood(
    kind: Annotated[list[Kind] | None, typer.Option(help="Only this one; may be repeated. Without it, all.")] = None,
    rate: Annotated[int, typer.Option(min=1, max=1_000_000, help="Datagrams a second at the most.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of each flood, and of the quiet.")] = 10,
    window: Annotated[int, typer.Option(min=1, max=1000, help="Adds in flight through the other nodes.")] = 4,
    as_json: Json = False,
) -> None:
    """Flood one of three nodes: digests and questions in a member's name, reads, adds, junk, one after the other.

    Meanwhile adds go through the other nodes. Printed beside a quiet time, in which nobody reads what is sent: these
    adds, rounds of gossip, memory, and bytes that come back. Sender, client and nodes share this machine's cores.
    """

    def done(phase: flooding.Phase) -> None:
        adds = f"{phase.adds_per_s:,.0f} adds/s, p99 {phase.p99_ms:.1f} ms"
        typer.echo(f"{phase.kind or 'quiet'}: {phase.sent.datagrams:,} datagrams sent, {adds}", err=True)

    plan = flooding.Plan(kind or list(Kind), rate, seconds, window)
    options.show(run(flooding.measure(plan, done)), as_json)
