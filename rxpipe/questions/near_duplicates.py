"""The stage that drops questions that resemble an earlier one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rxpipe.pipeline.decisions import Drop, item_id
from rxpipe.questions.inputs import Same, WrongInput, record, takes
from rxpipe.questions.seen_texts import Likeness, seen_in


@takes("question", named_by={"question": "field"}, gives=lambda _: Same, module="rensa", extra="distinct")
def distinct(
    question: Any,
    *,
    state: str | Path,
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.8,
    shingle: Annotated[int, Field(ge=1, le=100)] = 3,
    field: str = "question",
) -> Any:
    """Drop a question whose text resembles an earlier text. Remember the text of any other question.

    ::

        Stage("distinct", partial(distinct, state="questions.seen"))

    The likeness of two texts is the Jaccard index of their shingles: the share of pieces of ``shingle`` characters that
    are in both texts. Case, white space and widths of characters do not count.

    - **Resume.** The file remembers which item had which text. The text is committed before the function returns. So an
      item is never compared with itself, also when it is done again after a kill.
    - **Sent back.** If an item comes with another text, because it was sent back, the new text replaces the old one.
    - **Sharing.** Threads and processes may share the file. Use another file for another bank, or delete the file
      before you begin anew.
    - **Previews.** ``rxpipe preview`` and ``rxpipe compare`` work on copies of the file.
    - **IDs.** In a pipeline the item's ID is known. In another process, and in a batch, the field ``id`` is the ID.

    Args:
        question: The question, or a record with the field ``field``. The result is the same value.
        state: An SQLite file. A missing file is created.
        threshold: The least likeness, above 0 and at most 1, at which the later text is dropped.
        shingle: Characters in a shingle: 3 for most texts, 2 for short texts in Chinese or Japanese.
        field: The field with the text.

    Raises:
        Drop: The text resembles an earlier one.
        StopRun: The file cannot be used, or the extra ``distinct`` is not installed.
        WrongInput: The value is not usable, or its ID is not known.
    """
    known = record(question, distinct, {"field": field})
    own = item_id()
    own = known.get("id") if own is None else own
    if own is None:
        raise WrongInput("distinct needs the item's ID: outside of a pipeline's own process, a field 'id'")
    seen = seen_in(Path(state), Likeness(threshold=threshold, shingle=shingle))
    if not seen.keep(json.dumps(own), str(known[field])):
        raise Drop("near-duplicate")
    return question
