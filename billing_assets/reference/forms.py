"""What all forms of reference files share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Form(BaseModel):
    """A mapping of a reference file: closed and immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
