"""The process that atheris runs in: `python -m gossip_counter.bench.fuzz.guided_process TARGET [OPTIONS]`."""

import gc
import sys
from random import Random

import atheris


def main() -> None:
    """Fuzz until atheris ends this process."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["gossip_counter.node"]):
        from gossip_counter.bench.fuzz.items import Item, join, split  # noqa: PLC0415
        from gossip_counter.bench.fuzz.mutation import Mutator  # noqa: PLC0415 nothing of it may be loaded before
        from gossip_counter.bench.fuzz.targets import TARGETS  # noqa: PLC0415

    target = TARGETS[name]
    samples = target.samples()

    def changed(data: bytes, most: int, seed: int) -> bytes:
        """Some items changed as in a campaign; or bytes, as libFuzzer does it."""
        rng = Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        items = list(split(data)) or [Item(0, b"")]
        at = rng.randrange(len(items) + 1)
        items[at : at + rng.randrange(2)] = Mutator([*samples, *items], target.tokens, rng).items(1)
        return join(items)[:most]

    def run(data: bytes) -> None:
        target.run(data)

    gc.freeze()
    atheris.Setup([sys.argv[0], *options], run, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
