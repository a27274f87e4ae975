"""The pure core: every decision a node makes. It knows no clock, socket, disk or randomness of its own."""
