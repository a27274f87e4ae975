"""What can go wrong with a journal, beside settings that no journal can be opened with (`ConfigError`)."""


class JournalError(Exception):
    """A commit that is not durable. The text says why."""


class MustWaitError(Exception):
    """A commit that has to wait: for another process's lock, or for a long write. Nothing has changed."""


class DamagedError(Exception):
    """The file's content is not as it was written. The text says what is wrong."""


class UnknownRecordError(Exception):
    """The file is intact, but holds a kind of record that this version does not know."""
