"""Issue and deliver what is approved in a home, as a process that a test may kill.

`python -m tests.support.issue_worker HOME SMTP_PORT CA_FILE` says 'ready' and waits for a line.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from billing_assets.core.settings import Settings
from billing_assets.installation import Installation
from billing_assets.invoicing.delivery.run import deliver
from billing_assets.invoicing.run import approve_and_issue
from tests.support.issued_home import ISSUED


def clock() -> datetime:
    """The time of now."""
    return datetime.now(UTC)


def main(home: str, smtp_port: str, ca_file: str) -> None:
    """Issue every approved cycle, then deliver all that is due."""
    opened = Installation.open(
        Settings(
            home=Path(home),
            user="ana",
            ca_file=Path(ca_file),
            smtp_host="localhost",
            smtp_port=int(smtp_port),
        )
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for cycle in opened.registry.cycles.list():
        approve_and_issue(
            opened, cycle.id, approver="bruno", issue_date=ISSUED, now=clock(), who="bruno"
        )
    deliver(opened, clock=clock, who="ana", first_pause=0.01)
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
