"""What a save would do, without doing it."""

from __future__ import annotations

from memora.agent import compare, extract, jobs
from memora.agent.parts import CONTEXT_MESSAGES, Room
from memora.agent.ports import Ports, check_owner
from memora.agent.save import SaveRequest
from memora.core import messages as transcripts
from memora.core import planning
from memora.core.placeholders import neutral
from memora.errors import InteractionNotFoundError
from memora.schema.direct import SavePreview
from memora.schema.models import Memory
from memora.schema.scope import Scope


async def preview(ports: Ports, request: SaveRequest) -> SavePreview:
    """Run the stages of a save on the stores as they are, and report the plan.

    Raises:
        NotFoundError: User, agent or interaction do not exist in this scope.
        LLMError: The extraction model failed.
    """
    graph = ports.graph
    await check_owner(graph, request.scope)
    hashes: list[str] = []
    interaction_id = "preview"
    if request.interaction_id is not None:
        stored = await graph.find_interaction(request.scope, request.interaction_id)
        if stored is None:
            raise InteractionNotFoundError(request.interaction_id)
        interaction_id = stored.interaction_id
        hashes = await graph.read_prefix_hashes(request.scope, interaction_id)
    edit = transcripts.diff(hashes, request.transcript.messages())
    conversation = extract.Conversation(
        key="preview",
        interaction_id=interaction_id,
        user_id=request.scope.user_id,
        agent_id=request.scope.agent_id,
        new=extract.as_stored(edit.append, edit.keep),
        context=tuple(request.transcript.before(edit.keep, CONTEXT_MESSAGES)),
        at=request.at,
        about_agent=request.about_agent,
    )
    planned, known = await _planned(ports, request, conversation)
    user = await graph.get_user(request.scope.org_id, request.scope.user_id)
    named = await graph.with_names(user.org_id, list(known.values()))
    by_id = {memory.memory_id: memory for memory in named}
    return SavePreview(
        added=[
            neutral(write.text)
            for write in planned.memories
            if write.predecessor_id is None and write.successor_id is None
        ],
        merged=[
            by_id[link.memory_id]
            for link in planned.links
            if link.sources and link.moved_from is None and link.memory_id in by_id
        ],
        superseded=[by_id[i] for i in planned.superseded.values() if i in by_id],
        cut_messages=len(hashes) - edit.keep,
        new_messages=len(edit.append),
    )


async def _planned(
    ports: Ports, request: SaveRequest, conversation: extract.Conversation
) -> tuple[planning.Planned, dict[str, Memory]]:
    scope = jobs.memory_scope(request.scope, across_agents=request.across_agents)
    model = ports.extraction_model
    if not extract.worth_extracting(conversation):
        candidates: list[planning.Candidate] = []
    elif model is None:
        candidates = extract.verbatim(conversation)
    else:
        found: tuple[extract.ExtractedItem, ...] = ()
        room = Room.of(request.bounds, model)
        async for progress in extract.by_parts(model, conversation, room, request.max_retries):
            found = progress.items
        candidates = extract.candidates(conversation, found)
    if model is None:
        equal = await compare.find_equal(ports, scope, candidates)
        decisions = compare.equal_or_new(candidates, equal)
    else:
        related = await compare.find_related(ports, scope, candidates)
        decisions = await compare.compare(model, candidates, related, request.max_retries)
    buried = await jobs.find_buried(ports, request.scope, candidates)
    named = sorted({d.existing_id for d in decisions if d.existing_id is not None})
    user = Scope(scope.org_id, scope.user_id)
    chains = await ports.graph.read_chains(user, named) if named else {}
    planned = planning.build(
        request.scope,
        candidates,
        decisions,
        chains,
        planning.Origin(conversation.interaction_id, request.scope.agent_id),
        buried,
        across_agents=request.across_agents,
        stored=await compare.find_origins(ports, user, chains),
    )
    return planned, {m.memory_id: m for chain in chains.values() for m in chain}
