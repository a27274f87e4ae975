"""`python -m gossip_counter.cluster`: the command `cluster`."""

from gossip_counter.cluster.cli import main

if __name__ == "__main__":
    main()
