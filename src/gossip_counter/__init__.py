"""A counter that many machines share with no leader.

`node` is one member, `cluster` runs many of them on one machine, `bench` measures them.
"""

__version__ = "0.3.0"
