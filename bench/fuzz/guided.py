"""Inputs that are led by coverage: what reaches code that none did before is kept, and changed further.

This is atheris (libFuzzer for Python), in a process of its own for each target: it ends the process that it runs in,
and the modules that it watches must not be loaded before.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NamedTuple

from gossip_counter.bench.fuzz import campaign
from gossip_counter.bench.fuzz.campaign import Found, Outcome
from gossip_counter.bench.fuzz.items import join, split
from gossip_counter.bench.fuzz.targets import Target
from gossip_counter.node.core.errors import ConfigError

MAX_BYTES = 8192
MAX_MB = 2048
SLOW_S = 30
_PROGRESS = re.compile(rb"^#(\d+)\s.*\bcov: (\d+)")


class Progress(NamedTuple):
    """How far a process has come: inputs, and places in the code that they reached."""

    inputs: int
    covered: int


def check() -> None:
    """Raises `ConfigError` if atheris is not there."""
    if find_spec("atheris") is None:
        raise ConfigError("--guided needs atheris: 'make fuzz' installs it, as does pip install 'gossip-counter[fuzz]'")


def measure(
    target: Target, seconds: float, seed: int, directory: Path | None, done: Callable[[Progress, list[Found]], None]
) -> Outcome:
    """Fuzz one target for so long, or until an input goes wrong. Raises `ConfigError`, `OSError`."""
    began, last = monotonic(), Progress(0, 0)
    with TemporaryDirectory(prefix="fuzz-") as place:
        kept, wrong = Path(place) / "kept", Path(place) / "wrong"
        for each in (kept, wrong):
            each.mkdir()
        _write_samples(kept, target)
        with _started(target, seconds, seed, [kept, *_given(directory, target)], wrong) as process:
            assert process.stderr
            lines = list[bytes]()
            for line in process.stderr:
                lines = [*lines[-40:], line]
                if progress := _PROGRESS.match(line):
                    last = Progress(*map(int, progress.groups()))
                    done(last, [])
        found = [_found(target, path.read_bytes()) for path in sorted(wrong.iterdir())]
        if process.returncode and not found:
            raise ConfigError(f"atheris ended with {process.returncode}: {b''.join(lines).decode(errors='replace')}")
        done(last, found)
    return Outcome(target.name, "inputs", last.inputs, last.inputs, monotonic() - began, len(found))


def _given(directory: Path | None, target: Target) -> list[Path]:
    return [directory / target.name] if directory and (directory / target.name).is_dir() else []


def _write_samples(kept: Path, target: Target) -> None:
    """Each sample alone, and all together."""
    samples = target.samples()
    for number, items in enumerate([[each] for each in samples] + [samples]):
        (kept / f"{number}").write_bytes(join(items))


def _started(target: Target, seconds: float, seed: int, inputs: list[Path], wrong: Path) -> "subprocess.Popen[bytes]":
    options = {
        "max_total_time": max(1, round(seconds)), "seed": seed, "artifact_prefix": f"{wrong}/", "max_len": MAX_BYTES,
        "timeout": SLOW_S, "rss_limit_mb": MAX_MB,
    }  # fmt: skip
    command = [sys.executable, "-m", "gossip_counter.bench.fuzz.guided_process", target.name]
    arguments = [*(f"-{name}={value}" for name, value in options.items()), *map(str, inputs)]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _found(target: Target, data: bytes) -> Found:
    """An input that atheris kept, as small as it can be made."""
    _, what = campaign.try_one(target, data)
    if not what:
        return Found(target.name, "atheris ended with this input, which goes well when it is tried alone", data)
    smallest = campaign.smaller(list(split(data)), lambda items: campaign.try_one(target, join(items))[1] == what)
    return Found(target.name, what, join(smallest))
