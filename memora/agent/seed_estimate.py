"""What an import would do and cost, before it does anything."""

from __future__ import annotations

from collections.abc import Sequence

from memora.agent import save
from memora.agent.extract import as_stored
from memora.agent.parts import Part, Room, cut
from memora.agent.ports import Ports
from memora.agent.seed_input import Import, Seen, each, failure, holds, id_of, parse, request_of
from memora.agent.threads import EACH, off_loop
from memora.core.chunking import estimated_tokens
from memora.errors import InvalidInputError
from memora.schema.seeding import SeedEstimate, TokenPrice

# What a request of the extraction model costs besides the messages, and a summary's length.
_PROMPT_TOKENS = 900
_SUMMARY_TOKENS = 400
# Of what the messages have, how much the statements found in them have, about.
_FOUND = 0.3
# Of how many malformed conversations the estimate says what is wrong.
_TOLD = 1000


async def estimate(ports: Ports, seed: Import, price: TokenPrice | None) -> SeedEstimate:
    """Count what an import would do; nothing is written, no model is asked.

    Args:
        ports: Stores and models.
        seed: The import.
        price: What the extraction model costs; None: it is not known.
    """
    found, seen = SeedEstimate(), Seen()
    model = ports.extraction_model
    room = Room.of(seed.bounds, model)
    async for item in each(seed.data.conversations):
        try:
            conversation = parse(item)
            request = await request_of(seed, conversation, model)
            seen.check(conversation.conversation_id, request.transcript.last_hash)
        except InvalidInputError as error:
            found.invalid += 1
            if len(found.failures) < _TOLD:
                found.failures.append(failure(id_of(item), error))
            continue
        stored = await ports.graph.find_interaction(seed.scope, conversation.conversation_id)
        if stored is not None and holds(stored, request.transcript):
            found.unchanged += 1
            continue
        found.conversations += 1
        keep = 0
        if stored is not None:
            hashes = await ports.graph.read_prefix_hashes(seed.scope, stored.interaction_id)
            keep = save.transcripts.diff(hashes, request.transcript.messages()).keep
        new = as_stored(request.transcript.tail(keep), keep)
        size = sum(EACH + len(message.message.content or "") for message in new)
        parts = await off_loop(size, cut, new, room)
        found.chunks += len(parts)
        if model is not None:
            _add(found, parts)
    found.cost = 0.0 if model is None else _cost(found, price)
    return found


def _add(found: SeedEstimate, parts: Sequence[Part]) -> None:
    """Count the calls for one conversation: each part, a summary between two, one comparison."""
    if not parts:
        return
    read = [sum(estimated_tokens(piece.text) for piece in part) for part in parts]
    statements = int(sum(read) * _FOUND)
    calls = 2 * len(parts)
    summaries = len(parts) - 1
    found.model_calls += calls
    # Each part is read for its statements, all but the last for the summary; the comparison reads
    # the statements and what is known like them.
    found.prompt_tokens += sum(read) + sum(read[:-1]) + 2 * statements + calls * _PROMPT_TOKENS
    found.prompt_tokens += 2 * summaries * _SUMMARY_TOKENS
    found.completion_tokens += statements + statements // 3 + summaries * _SUMMARY_TOKENS


def _cost(found: SeedEstimate, price: TokenPrice | None) -> float | None:
    if price is None:
        return None
    prompt, completion = price
    return (found.prompt_tokens * prompt + found.completion_tokens * completion) / 1_000_000
