"""Commands about files of keys: new, list, rotate, retire."""

from pathlib import Path
from typing import Annotated

import typer

from gossip_counter.cluster import key_rings, rotation
from gossip_counter.cluster.errors import ClusterError
from gossip_counter.cluster.manifest import FILE, Manifest
from gossip_counter.cluster.options import DEFAULT_DIRECTORY, Directory
from gossip_counter.cluster.processes import Cluster
from gossip_counter.cluster.running import in_one_line, run
from gossip_counter.node.security.keyring import Keyring
from gossip_counter.node.storage import key_file

HELP = """Make and change files of keys, with which nodes and clients seal their datagrams.

Whoever has the file can read and change every counter, and nobody else can. A file holds several keys: the first seals,
all open. Its mode is 0600; copy it over a channel that you trust.

A cluster on several hosts:

    cluster keys new keys.txt      # then copy it to all hosts

    counter-node --name n1 --members members.toml --keys keys.txt

To change the key while all goes on, three steps, and after each the file is copied to all hosts:

    cluster keys rotate keys.txt   # adds a key, which opens

    cluster keys rotate keys.txt   # lets the new key seal

    cluster keys retire keys.txt   # deletes the old key

Nodes notice a changed file within a second; a node that is down gets the file before it starts. Go on to the next step
when 'keys' in gossip_status shows the same at every node.

Without a FILE, the commands are about the cluster in --dir, made by 'cluster up --sealed'; then they wait until all
its running nodes use the change.
"""

app = typer.Typer(help=HELP.replace("\n    ", "\n\n    "), no_args_is_help=True, rich_markup_mode=None)

KeyFileArgument = Annotated[
    Path | None, typer.Argument(metavar="FILE", help="The file of keys; without it, that of the cluster in --dir.")
]


@app.command("new")
@in_one_line("cluster")
def new(file: KeyFileArgument = None, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Make a file with one new random key. A file that is there is never overwritten."""
    path = file or _of_cluster(directory)
    ring = key_rings.new(path)
    typer.echo(f"{path} has key {ring.names[0]}: copy it to every host, and start each node with --keys {path}")


@app.command("list")
@in_one_line("cluster")
def list_keys(file: KeyFileArgument = None, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Print the ids of the keys and when they were made, never a secret."""
    ring = key_file.read(file or _of_cluster(directory))
    for number, key in enumerate(ring.keys):
        typer.echo(f"{key.name}  made {key.created_text}  {'opens' if number else 'seals and opens'}")
    for retired in ring.retired:
        typer.echo(f"{retired.hex()}  retired")


@app.command("rotate")
@in_one_line("cluster")
def rotate(file: KeyFileArgument = None, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Do the next step to a new key: add one that opens; the second time, let it seal."""
    path = file or _of_cluster(directory)
    ring = key_rings.rotate(path)
    if key_rings.is_settled(ring):
        done, then = f"key {ring.names[0]} seals now, and the old one still opens", "retire"
    else:
        done, then = f"key {ring.newest.name} opens now, and {ring.names[0]} still seals", "rotate"
    _report(path, done, then, file, directory, ring)


@app.command("retire")
@in_one_line("cluster")
def retire(file: KeyFileArgument = None, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Delete all keys but the one that seals: what is sealed with them is refused from then on."""
    path = file or _of_cluster(directory)
    ring = key_rings.retire(path)
    _report(path, f"only key {ring.names[0]} opens now", "", file, directory, ring)


def _of_cluster(directory: Path) -> Path:
    """The file of the cluster in a directory. Raises `ClusterError` if it is not sealed."""
    if not (directory / FILE).exists():
        raise ClusterError(f"there is no cluster in {directory}: name a FILE of keys, or 'cluster up --sealed' first")
    manifest = Manifest.load(directory)
    if not manifest.settings.sealed:
        raise ClusterError(f"the cluster in {directory} has no keys: 'cluster up --sealed' gives it some")
    return manifest.keys_path


def _report(path: Path, done: str, then: str, file: Path | None, directory: Path, ring: Keyring) -> None:
    """Print what was done and the next command; of a cluster, once all its running nodes use the change."""
    if file:
        typer.echo(f"{path}: {done}; copy it to every host" + (f", then 'cluster keys {then} {file}'" if then else ""))
        return
    behind = run(rotation.late(Cluster.load(directory), ring))
    typer.echo(done + (f"; then 'cluster keys {then}'" if then else ""))
    if behind:
        typer.echo(f"{', '.join(behind)} did not confirm it: look with 'cluster status' before the next step", err=True)
