"""From what was found to what mentions the same people, places and things."""

from __future__ import annotations

from collections.abc import Sequence

from memora.agent.ports import Ports
from memora.core import entities, ranking
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
    scores = {hit.memory_id: hit.score / best for hit in ranked if best > 0}
    seeds = await _strongest(ports, scope, scores)
    names = list(dict.fromkeys(escape(name) for text in asked for name in recognise(text)))
    known = await graph.find_entity_ids(scope, names) if names else {}
    named = dict.fromkeys(known.values(), 1.0)
    found: dict[str, float] = {}
    worth = 1.0
    for hop in range(hops):
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
        worth *= entities.SECOND_HOP
        if hop < hops - 1:
            seeds, named = await _strongest(ports, scope, gained), {}
    return found


async def _strongest(ports: Ports, scope: Scope, weights: dict[str, float]) -> dict[str, float]:
    """Return the memories that a hop starts from; of equal ones at the end, the newest."""
    tied = entities.contested(weights)
    owner = Scope(scope.org_id, scope.user_id)
    known = await ports.graph.resolve_memories(owner, tied, None) if tied else {}
    order = {memory_id: ranking.newest_first(memory) for memory_id, memory in known.items()}
    return entities.strongest(weights, order)
