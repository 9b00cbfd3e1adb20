"""A remedy as data: the name of a change and its arguments."""

from __future__ import annotations

import dataclasses

from sounding.result import Result

Argument = str | float | int | bool


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Remedy(Result):
    """A change that can be applied, judged and printed as code; `touches` says what it changes."""

    name: str  # a function of sounding.remedies
    arguments: dict[str, Argument] = dataclasses.field(default_factory=dict)
    touches: str  # 'recipe', 'weights', 'architecture' or 'code'

    def __str__(self) -> str:
        """The call, as a user would type it: ``reinitialise(scheme='kaiming')``."""
        inside = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({inside})"
