"""How names and numbers are written for people."""

import json
import re


def shown(counter: str) -> str:
    """A counter's name, in quotes if it is empty, would change the terminal's state, or could be taken for another."""
    is_clear = counter.isprintable() and counter == counter.strip() and not counter.startswith('"')
    return counter if counter and is_clear else json.dumps(counter, ensure_ascii=not counter.isprintable())


def counted(number: int, what: str) -> str:
    """So many of something, such as 1 node or 1,000 nodes."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def duration(ms: float) -> str:
    """A time that is left, such as 0.4 s, 59 s, 12 min, 30 h or 5 days."""
    seconds = max(ms, 0) / 1000
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, length, most in (("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"


def in_natural_order(name: str) -> list[tuple[int, str]]:
    """By which names are sorted so that n2 comes before n10."""
    return [(int(each), "") if is_number(each) else (-1, each) for each in re.split(r"([0-9]+)", name)]


def is_number(text: str) -> bool:
    """Whether it is all digits 0 to 9. Others, such as ², are digits too, but not for `int`."""
    return text.isascii() and text.isdecimal()
