"""One replica process: a pure state machine (`node.replica`) and the worlds that carry its messages."""

__version__ = "0.1.0"
