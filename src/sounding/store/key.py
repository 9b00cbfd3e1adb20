"""Under which key a run is stored: what it is part of, what it ran, and with which code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from sounding.store.packed import canonical


@dataclasses.dataclass(frozen=True, order=True, kw_only=True)
class Key:
    """Two runs with equal keys would give the same result."""

    study: str
    scale: str  # 'quick' or 'full'
    function: str  # 'module:name'
    settings: str  # canonical JSON of the keywords, the seed among them
    version: str  # of the code that matters, from `code_version`

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        settings: Mapping[str, Any],
        *,
        study: str,
        scale: str,
        version: str,
    ) -> Key:
        """The key of ``function(**settings)``.

        Raises:
            TypeError: If `settings` hold something else than JSON does.
            ValueError: If a number among them is not finite.
        """
        return cls(
            study=study,
            scale=scale,
            function=f"{function.__module__}:{function.__qualname__}",
            settings=canonical(settings),
            version=version,
        )

    @property
    def keywords(self) -> dict[str, Any]:
        """The settings as a dict; tuples have become lists."""
        return json.loads(self.settings)
