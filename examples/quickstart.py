"""Save a conversation, continue it, recall from it, and see how a memory changed.

Runs without server, key or model: python examples/quickstart.py [DIRECTORY]
"""

import asyncio
import sys
import tempfile
from datetime import UTC, datetime

from memora import Memora

MAY = datetime(2026, 5, 4, 9, tzinfo=UTC)
JUNE = datetime(2026, 6, 20, 18, tzinfo=UTC)


async def main(directory: str) -> None:
    async with Memora.embedded(directory) as memora:
        org = await memora.graph.create_organization("My Organization")
        user = await memora.graph.create_user(org.org_id, "Jake")

        # Without an extraction model each message of the user becomes a memory as it was said.
        conversation = [
            {"role": "user", "content": "I am allergic to peanuts, found out the hard way."},
            {"role": "assistant", "content": "Noted: no peanuts."},
            {"role": "user", "content": "My wife Sarah and I expect a baby in December."},
        ]
        interaction_id, _ = await memora.save_or_update_interaction_and_memories(
            org.org_id, user.user_id, interaction=conversation, current_datetime=MAY
        )

        # The whole conversation again, longer: only what is new is stored and remembered.
        conversation.append({"role": "user", "content": "We want to call her Nora."})
        await memora.save_or_update_interaction_and_memories(
            org.org_id,
            user.user_id,
            interaction=conversation,
            interaction_id=interaction_id,
            current_datetime=JUNE,
        )

        for question in ("When is the baby due?", "What shall we call the baby girl?"):
            memories, _ids = await memora.recall_memories_for_message(
                org.org_id, user.user_id, latest_msg=question, limit=1
            )
            print(f"{question} -> {memories[0].memory} ({memories[0].obtained_at:%d %B %Y})")

        # A correction by hand is a new version; the old one stays readable.
        due = (await memora.search_memories_as_one(org.org_id, user.user_id, ["baby due"]))[0]
        await memora.update_memory(
            org.org_id, user.user_id, due.memory_id, "Jake's baby is due in January."
        )
        for version in await memora.memory_history(org.org_id, user.user_id, due.memory_id):
            state = "current" if version.is_current else "past"
            print(f"{state:>8}: {version.memory}")

        diagnosis = await memora.doctor()
        print("the store is clean" if diagnosis.clean else diagnosis.findings)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            asyncio.run(main(temporary))
