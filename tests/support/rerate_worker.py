"""Carry out a re-rate request of a home, as a process that a test may kill.

`python -m tests.support.rerate_worker HOME REQUEST` says 'ready', waits for a line, and says
'done' at the end, or 'refused' and why.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from billing_assets.core.errors import BillingError
from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.rating.requests import run_request


def say(words: str) -> None:
    """One line for the test that reads."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main(home: str, request: str) -> None:
    """Run the request on all its days."""
    opened = Installation.open(Settings(home=Path(home), user="ana"))
    reference = opened.reference
    say("ready")
    sys.stdin.readline()
    try:
        run_request(
            int(request),
            opened.lake,
            opened.registry,
            reference,
            buckets=opened.settings.buckets,
            now=lambda: datetime.now(UTC),
            who="ana",
        )
    except BillingError as error:
        say(f"refused: {error.message}")
    else:
        say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
