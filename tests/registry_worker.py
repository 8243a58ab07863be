"""A process that finalises approved cycles, for tests of what happens when it dies.

`python -m tests.registry_worker URL FIRST END [DIE_AT]`: each cycle 'C<n>' has one document;
the process kills itself without a word while document DIE_AT is being frozen. It prints the
number text of each document as soon as that is final.
"""

import os
import signal
import sys
import time

from billing_assets.registry import Registry
from billing_assets.registry.documents import Draft, Frozen
from tests.registry_support import NOW, freeze


def main(url: str, first: int, end: int, die_at: int = -1) -> None:
    """Finalise the cycles from `first` up to, not including, `end`."""

    def slow_freeze(unnumbered: Draft, number_text: str) -> Frozen:
        if unnumbered.id == f"C{die_at}/invoice":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.003)
        return freeze(unnumbered, number_text)

    with Registry.open(url) as registry:
        for n in range(first, end):
            cycle = f"C{n}"
            documents = registry.documents.drafts(cycle, 1)
            for final in registry.documents.finalise(
                cycle, documents, slow_freeze, now=NOW, who="carla"
            ):
                sys.stdout.write(f"{cycle} {final.number_text}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:]))
