"""What was found to hold a run up, in the form in which a run's last snapshot keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stage", "items", "limiter", "sink", "source"]
Verdict = Literal["found", "close", "nothing", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What held a run up. It is found once, at the end, so that terminal and page say the same.

    Attributes:
        verdict: As ``Bottleneck.verdict``.
        kind: What kind of resource held it up; None unless one was found.
        name: The resource's name; None unless one was found.
        sentence: As ``Advice.sentence``.
    """

    verdict: Verdict
    kind: Kind | None
    name: str | None
    sentence: str
