"""From what was found to what mentions the same people, places and things."""

from __future__ import annotations

from collections.abc import Sequence

from memora.agent.ports import Ports
from memora.core import entities
from memora.core.placeholders import escape
from memora.schema.recall import RankedId
from memora.schema.scope import Scope
from memora.text.entities import recognise


async def follow(
    ports: Ports, scope: Scope, asked: Sequence[str], ranked: Sequence[RankedId], hops: int
) -> dict[str, float]:
    """Return live memories that share names with the best hits or the question, with a weight.

    Args:
        ports: Stores.
        scope: Whose memories; an agent narrows.
        asked: The question.
        ranked: Hits, best first.
        hops: 1, or 2 to go on from what the first hop reached.
    """
    graph = ports.graph
    now = graph.clock.now()
    best = ranked[0].score if ranked else 0.0
    seeds = {hit.memory_id: hit.score / best for hit in ranked[: entities.HOP_SEEDS] if best > 0}
    names = list(dict.fromkeys(escape(name) for text in asked for name in recognise(text)))
    known = await graph.find_entity_ids(scope, names) if names else {}
    named = dict.fromkeys(known.values(), 1.0)
    found: dict[str, float] = {}
    worth = 1.0
    for _hop in range(hops):
        mentions = await graph.entities_mentioned(scope, list(seeds), now) if seeds else []
        weights = entities.followed(mentions, seeds) | named
        if not weights:
            break
        wide = await graph.memories_mentioning(scope, list(weights), now, each=entities.HOP_FANOUT)
        gained = {
            memory_id: worth * weight
            for memory_id, weight in entities.reached(wide, weights).items()
            if worth * weight > found.get(memory_id, 0.0)
        }
        found |= gained
        seeds, named = entities.strongest(gained), {}
        worth *= entities.SECOND_HOP
    return found
