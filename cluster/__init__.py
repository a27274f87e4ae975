"""Many nodes: the launcher of processes, the client of their UDP door, the live table and the command line."""
