"""Mutation testing of `node/core/`: changes the code in small ways, one at a time, and counts what a test notices.

mutmut makes the mutants and runs the tests (its settings: `[tool.mutmut]` in pyproject.toml). This program adds what
mutmut lacks: a sample that can be drawn again, the line of a survivor, and a copy to work in. The copy has folders
where the tree has links, which mutmut does not follow, and keeps the tree as it is.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

ROOT = Path(__file__).parent.parent
COPIED = ("pyproject.toml", "src", "tests")
FEW = "gossip_counter.node.core.errors.*"
"""Some mutants. mutmut names all of them only once it has run one."""
NOTICED = {"killed", "timeout"}


def mutmut(place: Path, *arguments: str) -> str:
    """What the command prints. Raises `CalledProcessError` if it fails."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, cwd=place, check=True, text=True, stdout=subprocess.PIPE).stdout


def run(place: Path, names: Sequence[str], processes: int) -> None:
    """Run mutants; all if there are no names. Shows mutmut's own progress."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(processes), *names]
    subprocess.run(command, cwd=place, check=True)


def outcomes(place: Path) -> dict[str, str]:
    """By a mutant's name: killed, timeout, survived, no tests, not checked, ..."""
    lines = mutmut(place, "results", "--all", "True").splitlines()
    return dict(sorted((name.strip(), outcome.strip()) for name, _, outcome in (each.partition(":") for each in lines)))


def first_line(path: Path, mutant: str) -> int:
    """The line where the mutated function begins, with its decorators and the comments above it."""
    named = re.search(r"\.x(?:ǁ([^ǁ]+)ǁ|_)(\w+)__mutmut_\d+$", mutant)
    assert named, f"mutmut names a mutant of a method, or of a function: {mutant}"
    owner, function = named.groups()
    body: Sequence[ast.stmt] = ast.parse(path.read_text()).body
    if owner:
        body = next(each.body for each in body if isinstance(each, ast.ClassDef) and each.name == owner)
    found = next(each for each in body if isinstance(each, ast.FunctionDef) and each.name == function)
    line = min([found.lineno, *(each.lineno for each in found.decorator_list)])
    lines = path.read_text().splitlines()
    while line > 1 and lines[line - 2].lstrip().startswith("#"):
        line -= 1
    return line


def described(place: Path, mutant: str) -> str:
    """`file:line` of a mutant, and the lines that it changes."""
    diff = mutmut(place, "show", mutant).splitlines()
    hunk = next(at for at, line in enumerate(diff) if line.startswith("@@"))
    change = next(at for at, line in enumerate(diff) if at > hunk and line[:1] in ("-", "+"))
    path = Path(next(line for line in diff if line.startswith("--- ")).removeprefix("--- ").strip())
    above = int(re.findall(r"\d+", diff[hunk])[0]) - 1 + change - hunk - 1
    changed = [f"    {line}" for line in diff[hunk:] if line[:1] in ("-", "+")]
    where = f"{path.relative_to('src/gossip_counter')}:{first_line(place / path, mutant) + above}"
    return "\n".join([where, *changed])


def report(place: Path, tried: dict[str, str]) -> None:
    """Survivors, then how many ended in which way, then the score."""
    for mutant in [name for name, outcome in tried.items() if outcome not in NOTICED]:
        typer.echo(f"\n{tried[mutant]}: {described(place, mutant)}")
    counted = Counter(tried.values())
    noticed = sum(counted[outcome] for outcome in NOTICED)
    typer.echo("\n" + ", ".join(f"{count} {outcome}" for outcome, count in counted.most_common()))
    typer.echo(f"Tests notice {noticed} of {len(tried)} mutants: {noticed / len(tried):.1%}")


def main(
    mutants: Annotated[int, typer.Option(min=0, help="How many to try; 0: all.")] = 300,
    seed: Annotated[int, typer.Option(help="Draws the sample.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="How many to try at the same time.")] = os.cpu_count() or 1,
) -> None:
    """Try a sample of mutants of node/core/ and list those that no test notices."""
    with TemporaryDirectory(prefix="mutation-") as directory:
        place = Path(directory)
        for each in COPIED:
            (shutil.copytree if (ROOT / each).is_dir() else shutil.copy)(ROOT / each, place / each)
        run(place, [FEW] if mutants else [], processes)
        names = list(outcomes(place))
        sample = Random(seed).sample(names, min(mutants, len(names))) if mutants else names
        typer.echo(f"{len(sample)} of {len(names)} mutants are tried")
        if mutants:
            run(place, sample, processes)
        found = outcomes(place)
        report(place, {name: found[name] for name in sample})


if __name__ == "__main__":
    typer.run(main)
