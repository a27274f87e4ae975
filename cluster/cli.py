"""The command `cluster`: start nodes, watch them, count with them, kill them, stop them."""

from typing import Annotated

import typer

from gossip_counter import __version__
from gossip_counter.cluster.commands import counting, deleting, experiments, keys, lifecycle, live, membership
from gossip_counter.node.encodings import tolerate_any_encoding

HELP = """Run a gossip counter on this machine: several nodes, no leader, one value.

Every node takes increments and decrements by itself and gossips with the others until all agree.

A first try, in two terminals:

    cluster up -n 5          # the live table, until Ctrl-C

    cluster add 42           # in the other terminal
    cluster read --node n3   # 42, from another node

    redis-cli -p 7102 incr likes   # any node speaks the Redis protocol too
    cluster counters         # the counters and their values
    cluster add 1 --counter login --expire 60   # ends in a minute
    cluster delete likes

    cluster kill n2          # watch the others carry on
    cluster restart n2       # and watch it catch up

    cluster scale 7          # two more nodes join
    cluster leave n7         # and one hands over and goes

What was acknowledged is on disk: `cluster down` and `cluster up` bring it back.

A cluster lives in a directory (--dir, or the variable COUNTER_DIR; default .counter).
"""

app = typer.Typer(
    help=HELP.replace("\n    ", "\n\n    "),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

# In the order of the help.
app.command()(lifecycle.up)
app.command()(live.status)
app.command()(live.watch)
app.command("members")(membership.list_members)
app.command()(membership.join)
app.command(context_settings={"ignore_unknown_options": True})(membership.scale)  # -1 is a number, out of bounds
app.command()(membership.leave)
app.command()(membership.remove)
app.command(context_settings={"ignore_unknown_options": True})(counting.add)  # so that -5 is a delta, not an option
app.command()(counting.read)
app.command("counters")(counting.list_counters)
app.command()(deleting.delete)
app.command()(experiments.kill)
app.command()(lifecycle.restart)
app.command()(experiments.pause)
app.command()(experiments.resume)
app.command()(experiments.wipe)
app.command()(experiments.partition)
app.command()(experiments.heal)
app.command()(live.logs)
app.add_typer(keys.app, name="keys")
app.command()(lifecycle.down)


@app.callback(invoke_without_command=True)
def _about(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"cluster {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command `cluster`."""
    tolerate_any_encoding()
    app()
