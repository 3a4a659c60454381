"""What held a run up, in the form that a run's last snapshot keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stage", "items", "limiter", "sink", "source"]
Verdict = Literal["found", "close", "nothing", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What held a run up. It is determined once, at the end, so that the terminal and the page agree.

    Attributes:
        verdict: As in ``Bottleneck.verdict``.
        kind: The kind of resource that held the run up; None unless the verdict is ``found``.
        name: The resource's name; None unless the verdict is ``found``.
        sentence: As in ``Advice.sentence``.
    """

    verdict: Verdict
    kind: Kind | None
    name: str | None
    sentence: str
