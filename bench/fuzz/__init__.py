"""Input that nobody would send on purpose, at everything that takes input: is any error unexpected, any state wrong?

An input is a list of items: datagrams, lines, reads of a stream, files or steps. A *target* takes one, from a beginning
that is always the same, so that whatever is found can be replayed from its bytes alone.
"""
