"""Whose a trunk is at a time: no two accounts', and no partner's when it is our own."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from billing_assets.core.errors import Problem
from billing_assets.reference.cells import local_instant
from billing_assets.reference.models import Partner, TrunkRange

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)


def trunk_validity(trunk: TrunkRange, zone: str) -> tuple[datetime, datetime]:
    """The UTC validity of a trunk mapping, half-open; local dates are of the partner's zone."""
    end = local_instant(trunk.valid_to, zone) if trunk.valid_to else FAR_FUTURE
    return local_instant(trunk.valid_from, zone), end


@dataclass(frozen=True)
class _Claim:
    """A mapping of a trunk to an account, in a partner's file."""

    start: datetime
    end: datetime
    owner: str
    path: str


@dataclass(frozen=True)
class TrunkClaims:
    """The mappings of all partners, by trunk and direction; `own` are trunks of ours."""

    own: Collection[str]
    held: dict[tuple[str, str], list[_Claim]] = field(default_factory=dict)

    def of(self, partner: Partner, path: str) -> Iterator[tuple[Problem, str]]:
        """What is wrong with a partner's mappings, and the file that says otherwise."""
        for account in partner.accounts:
            owner = f"{partner.partner}/{account.account}"
            for trunk in account.trunks:
                yield from dict.fromkeys(self._wrong(trunk, partner.zone, owner, path))

    def _wrong(
        self, trunk: TrunkRange, zone: str, owner: str, path: str
    ) -> Iterator[tuple[Problem, str]]:
        claim = _Claim(*trunk_validity(trunk, zone), owner, path)
        if trunk.valid_to and claim.end <= claim.start:
            said = f"mapping of {trunk.trunk} ends before it begins on {trunk.valid_from}"
            yield Problem(said, path, None, "to", str(trunk.valid_to)), path
        if trunk.trunk in self.own:
            said = "is a trunk of our own (own_trunks in carrier.yaml): its usage has no partner"
            yield Problem(said, path, None, "trunk", trunk.trunk), "carrier.yaml"
        for direction in ("in", "out") if trunk.direction == "both" else (trunk.direction,):
            claims = self.held.setdefault((trunk.trunk, direction), [])
            for other in claims:
                if claim.start < other.end and other.start < claim.end and other.owner != owner:
                    said = f"is mapped to {other.owner} at the same time"
                    yield Problem(said, path, None, "trunk", trunk.trunk), other.path
            claims.append(claim)
