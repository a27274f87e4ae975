"""What a target raises."""


class WrongError(AssertionError):
    """Something that must hold does not."""


def check(holds: bool, *what: object) -> None:
    """Raises `WrongError`."""
    if not holds:
        raise WrongError(" ".join(map(str, what)))
