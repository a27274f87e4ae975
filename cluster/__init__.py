"""Many nodes: starting and watching processes, the client of their UDP endpoint, the simulator, the command line."""
