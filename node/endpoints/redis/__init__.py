"""The Redis protocol: its bytes, its commands, and the clients that are connected."""
