"""Agreements and usage written as files and priced as `icb price` prices them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from billing_assets.cli.price import quote
from tests.support.references import agreement

Terms = Mapping[str, object]


def priced(
    folder: Path,
    agreements: Sequence[Terms],
    usage: Sequence[Mapping[str, object]],
    *,
    calendars: Terms | None = None,
    month: str = "",
    zone: str = "UTC",
) -> dict[str, list]:
    """Price usage rows (canonical names) under agreement terms; missing terms are the tests'.

    An agreement without a name is called A, B, ... in order.
    """
    paths = []
    for letter, terms in zip("ABCDEFGH", agreements, strict=False):
        form = agreement(**{"agreement": letter, **terms})
        path = folder / f"{form['agreement']}-{form.get('version', 1)}.yaml"
        path.write_text(json.dumps(form))
        paths.append(path)
    if calendars:
        (folder / "calendars.yaml").write_text(json.dumps(calendars))
    records = folder / "usage.jsonl"
    records.write_text("\n".join(json.dumps(row) for row in usage))
    return quote(paths, records, calendar=None, month=month, zone=zone)
