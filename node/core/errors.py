"""The two families of errors: a peer's nonsense, which is counted and dropped, and our own misuse, which ends us."""

# Maelstrom's error codes, the ones this node answers with.
TIMEOUT = 0
NOT_SUPPORTED = 10
TEMPORARILY_UNAVAILABLE = 11
MALFORMED = 12
PRECONDITION_FAILED = 22


class ConfigError(ValueError):
    """Our own misuse: a setting no node can run with. The text names the setting and its bounds."""


class ProtocolError(Exception):
    """What someone sent makes no sense. Nothing has changed; it is counted, and never fatal."""


class BadDatagramError(ProtocolError):
    """A datagram nobody can be answered about: junk, or gossip that breaks a limit."""


class SealError(BadDatagramError):
    """A datagram that is not sealed for us now. `kind` is the field of Stats that counts it; empty: nothing is wrong.

    `answer` is a sealed datagram to send to where it came from; None: nothing is to be sent.
    """

    def __init__(self, kind: str, text: str, answer: bytes | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.answer = answer


class RequestError(ProtocolError):
    """A request that is refused. Nothing has changed.

    `code` is one of Maelstrom's; `msg_id` is the request's, or None where the sender left no way to be answered.
    """

    def __init__(self, code: int, text: str, msg_id: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.msg_id = msg_id
