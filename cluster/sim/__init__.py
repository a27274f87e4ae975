"""A whole cluster in one process: the real code of a node on a virtual clock, network and disk.

One seed drives everything: when clients ask, what the network loses, delays, duplicates and reorders, who is cut off
from whom, who is slow, who is paused, who crashes and whether its journal survives. The same seed gives the same trace.

`simulation` is the whole; `scenario` has what may happen in a run; `workload` and `redis_clients` are what clients
do, `faults` what goes wrong; `oracle` and `verdict` decide whether every promise was kept.
"""
