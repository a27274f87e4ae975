"""One member of a cluster, as one process: a pure core, and the adapters that connect it to the outside."""
