"""Inputs on disk: those that were worth keeping, and those that were found to go wrong."""

from hashlib import sha256
from pathlib import Path

from gossip_counter.bench.fuzz.items import Item, split
from gossip_counter.bench.fuzz.targets import Target


def inputs(directory: Path | None, target: Target) -> list[bytes]:
    """The files of a target's directory, by name. Raises `OSError`."""
    place = directory / target.name if directory else None
    return [path.read_bytes() for path in sorted(place.iterdir())] if place and place.is_dir() else []


def items(directory: Path | None, target: Target) -> list[Item]:
    """What inputs are made of: well-formed samples, and the items of all inputs that were kept."""
    return [*target.samples(), *(item for data in inputs(directory, target) for item in split(data))]


def keep(directory: Path, target: Target, data: bytes) -> Path:
    """Write an input to a file that is named after its content. Raises `OSError`."""
    path = directory / target.name / sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
