"""Versions of one agreement: each ends where the next begins, and they are of one agreement."""

from billing_assets.core.errors import Problem
from billing_assets.reference.cells import local_instant
from billing_assets.reference.models import Agreement
from billing_assets.reference.yamltext import Located

_LASTING = ("partner", "leg", "service")
"""What no later version of an agreement changes: it would end the one before for another."""


def ends_early(terms: Agreement, located: Located) -> Problem:
    """The problem of a version that ends before it begins."""
    said = f"ends before it begins on {terms.valid_from.isoformat()}"
    ends = terms.valid_to.isoformat() if terms.valid_to else ""
    return Problem(said, located.file, located.line(("to",)), "to", ends)


def cannot_follow(
    terms: Agreement, located: Located, following: Agreement, other: Located
) -> Problem | None:
    """Why the version in `other` cannot be the next one; None when it can."""
    if following.version == terms.version:
        said = f"version {terms.version} stands in {other.file} too"
        return Problem(said, located.file, located.line(("version",)), "agreement", terms.key)
    next_one = f"version {following.version} in {other.file}"
    for name in _LASTING:
        ours, theirs = str(getattr(terms, name)), str(getattr(following, name))
        if ours != theirs:
            said = f"{next_one} is of {theirs}: give it an identifier of its own"
            return Problem(said, located.file, located.line((name,)), name, ours)
    begins = local_instant(following.valid_from, following.zone)
    if begins <= local_instant(terms.valid_from, terms.zone):
        said = (
            f"{next_one} begins on {following.valid_from.isoformat()}, "
            f"not after version {terms.version}"
        )
        begins = terms.valid_from.isoformat()
        return Problem(said, located.file, located.line(("from",)), "from", begins)
    return None
