"""What runs a node: the event loop, the commits, timers, signals and the log of what goes wrong."""
