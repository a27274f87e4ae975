"""Text and the locale: no character makes output fail, and names on the command line are UTF-8.

Files are read and written as UTF-8 whatever the locale; `tests/test_house.py` sees to that.
"""

import io
import os
import sys


def tolerate_any_encoding() -> None:
    """From now on, standard output and error replace what their encodings can't hold. Nothing raises for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
            stream.reconfigure(errors="replace")


def log_in_utf8() -> None:
    """Standard error is UTF-8 from now on, unless it is a terminal: then it is a log that is read elsewhere."""
    if isinstance(sys.stderr, io.TextIOWrapper) and not sys.stderr.isatty():
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")


def in_one_line(text: str) -> str:
    """The text without characters that would end the line or mean something to a terminal."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def name(argument: str) -> str:
    """A name given on the command line. Where the locale could not decode its bytes, they are UTF-8.

    Bytes that are not UTF-8 either stay lone surrogates, which the bounds on names refuse.
    """
    if argument.isascii():
        return argument
    try:
        argument.encode()
    except UnicodeEncodeError:
        return os.fsencode(argument).decode("utf-8", "surrogateescape")
    return argument
