"""What may stand in an agreement once alone: a second one would contradict the first unseen."""

from collections.abc import Iterator, Sequence

from billing_assets.core.errors import Problem
from billing_assets.reference.models import Agreement
from billing_assets.reference.yamltext import Located, Location

_Names = Sequence[tuple[Location, str]]
"""Places of a file, and the name or code that stands at each."""


def repeated(terms: Agreement, located: Located) -> Iterator[Problem]:
    """A problem for each account, and each class, kind, code or state's code, that stands twice."""
    classes = list(enumerate(terms.origins.classes)) if terms.origins else []
    states = terms.jurisdiction.states if terms.jurisdiction else {}
    kinds: Sequence[_Names] = (
        _listed(("accounts",), terms.accounts),
        [(("origins", "classes", n, "origin"), one.origin) for n, one in classes],
        [at for n, one in classes for at in _listed(("origins", "classes", n, "kinds"), one.kinds)],
        [at for n, one in classes for at in _listed(("origins", "classes", n, "codes"), one.codes)],
        [at for name in states for at in _listed(("jurisdiction", "states", name), states[name])],
        [
            at
            for n, one in enumerate(terms.surcharges)
            for at in _listed(("surcharges", n, "codes"), one.codes)
        ],
    )
    for names in kinds:
        first: dict[str, Location] = {}
        for at, name in names:
            before = first.setdefault(name, at)
            if before != at:
                said = f"stands twice: {_dotted(before)} is {name} too"
                yield Problem(said, located.file, located.line(at), _dotted(at), name)


def _listed(at: Location, names: Sequence[str]) -> _Names:
    return [((*at, number), name) for number, name in enumerate(names)]


def _dotted(at: Location) -> str:
    return ".".join(str(part) for part in at)
