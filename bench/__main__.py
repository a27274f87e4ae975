"""`python -m gossip_counter.bench`: the command `bench`."""

from gossip_counter.bench.cli import main

if __name__ == "__main__":
    main()
