"""The twelve tasks and the six agents of `outrider demo`. Data only."""

from __future__ import annotations

from typing import Any

LANGUAGE = "chat,summarize,classify,extract"

AGENTS: tuple[tuple[str, int, int | None], ...] = (
    ("local-1", 2, None),
    ("local-2", 2, None),
    ("nimble", 1, 32),
    ("steady", 2, 40),
    ("wide", 4, 28),
    ("deep", 1, 120),
)
"""Name, slots, longest answer in tokens (None: the agent's own default); so routing has a choice."""

_HARBOUR = (
    "The harbour of Velden was built in 1911 for timber ships. After the sawmill closed, the quays stood "
    "empty for thirty years. Last spring the town opened a market there, with forty stalls, a boat school "
    "and a ferry to the islands. In its first summer it drew more visitors than the castle."
)
_BATTERY = (
    "A team has measured how the batteries of delivery vans age. Vans that were charged every night to the "
    "full lost eleven percent of their range in two years. Vans that were kept between a fifth and four "
    "fifths lost four percent. The drivers noticed no difference in their day."
)
_LIBRARY = (
    "The town library lends more than books. Since March people can borrow drills, tents, a sewing machine "
    "and even a telescope. The waiting list for the telescope is nine weeks long. The librarians say that "
    "most things come back cleaner than they were."
)
_GLACIER = (
    "Every August two students climb to the Lenner glacier and paint a line on the rock where the ice ends. "
    "The oldest line is from 1974. Today one has to walk forty minutes from that line to touch the ice. "
    "This year the retreat was smaller than usual because snow fell until June."
)
_MOODS = ["praise", "complaint", "question"]
_TOPICS = ["sport", "weather", "business", "science"]

TASKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("chat", {"prompt": "Why does the sea look blue? Answer in two sentences.", "max_tokens": 60}),
    ("summarize", {"text": _HARBOUR, "max_tokens": 60}),
    ("classify", {"text": "The parcel came a week late and the box was open.", "labels": _MOODS}),
    ("chat", {"prompt": "Name three things to pack for a walk in the rain.", "max_tokens": 50}),
    ("summarize", {"text": _BATTERY, "max_tokens": 60}),
    ("classify", {"text": "Strong wind and showers are expected in the north tonight.", "labels": _TOPICS}),
    ("chat", {"prompt": "Write a short greeting for a new neighbour.", "max_tokens": 40}),
    ("summarize", {"text": _LIBRARY, "max_tokens": 60}),
    ("classify", {"text": "Does the blue one also come in a larger size?", "labels": _MOODS}),
    ("chat", {"prompt": "What is the difference between a lake and a pond?", "max_tokens": 70}),
    ("summarize", {"text": _GLACIER, "max_tokens": 60}),
    ("classify", {"text": "Thank you, the boots are warm and fit perfectly.", "labels": _MOODS}),
)
"""Kind and payload of each task."""
FIRST_ROUND = 6
"""So many tasks let the router meet the agents; the others it places by what it saw of them."""
