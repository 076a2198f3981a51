"""Every trap that would leak, lose, corrupt, or give a wrong result has a test that names it.

The list is that of the project's review of memora 0.3 and its dependencies: P0 (leak, loss,
erasure failure, corruption) and P1 (wrong result, outage, runaway cost). A test names a trap by its
id between underscores: `test_b24_…`, `test_b71_b72_…`, `class TestB33…` does not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.architecture.source import PACKAGE, ROOT

P0 = {
    "b01": "a scope given as text or None covers every tenant",
    "b02": "a delete by a foreign id takes the victim's vector",
    "b03": "the tenant filter of a fusion query is ignored",
    "b12": "the vector write runs inside the graph's transaction",
    "b13": "a lost acknowledgement makes everything twice",
    "b14": "vectors are written for a user that is gone",
    "b15": "a cancelled call leaves an orphan vector",
    "b24": "two appends to one base: a message is lost",
    "b25": "truly concurrent appends fork the transcript",
    "b33": "embedding stalls the event loop",
    "b45": "what is saved is not what is listed",
    "b46": "the time of import stands in for the time of the call",
    "b47": "an agent that is deleted takes memories and interactions along",
    "b70": "a transcript that the model cannot read is never stored",
    "b83": "erasing a user or organization leaves the vectors",
    "b84": "an empty interaction cannot be deleted",
}
P1 = {
    "b04": "joined ids of two tenants are equal",
    "b05": "a search within one agent, without an agent, widens",
    "b06": "another agent's version comes back after resolution",
    "b07": "one user's agent writes or reads for another user",
    "b08": "a fetch trusts the owner that comes with the id",
    "b16": "an update to an empty transcript loses the new memories",
    "b17": "ids are collected outside of the deleting transaction",
    "b18": "the vector goes, the commit fails: unsearchable for ever",
    "b19": "foreign I/O while write locks are held",
    "b20": "an upload fails half-way",
    "b26": "two first messages of one interaction",
    "b27": "messages are used by position without an order",
    "b28": "two current heads after two contradictions",
    "b29": "a forked chain or a cycle is read",
    "b30": "a diff against a stale follower",
    "b31": "duplicate nodes under concurrency",
    "b34": "a blocking upload on the event loop",
    "b35": "blanket retries pay for the same answers again",
    "b36": "a model call without a deadline",
    "b37": "a big user cannot be erased",
    "b38": "the model emits thousands of queries",
    "b39": "an append costs as much as the conversation is long",
    "b48": "names with replacement characters break reading",
    "b49": "placeholders match more than they stand for",
    "b50": "a possessive is swallowed",
    "b52": "a memory whose sources are gone does not exist",
    "b53": "history from a version that is not the head",
    "b54": "a delete makes an old fact current again",
    "b55": "a purged memory is extracted again",
    "b56": "superseded versions count as known",
    "b57": "relevance order and scores are lost on the way",
    "b58": "an excluded memory returns through its old version",
    "b62": "constraints that the Community edition lacks",
    "b71": "a position that is out of range wraps around",
    "b72": "message numbers reach the database unchecked",
    "b73": "a made-up contradicted id leaves two current facts",
    "b74": "objects' reprs in a prompt",
    "b75": "data in the system role",
    "b76": "the callers' roles instruct the extractor",
    "b77": "content forges the provenance of a message",
    "b78": "any message supersedes any memory",
    "b85": "personal agents survive the erasure of their user",
    "b86": "content in logs, the root logger taken over",
    "b89": "an error body is taken for an answer",
}
# Ids that cannot apply to this code base, and why; none so far.
NOT_APPLICABLE: dict[str, str] = {}


def names() -> Iterator[str]:
    """Yield the names of all tests and test classes, those that the package ships included."""
    for folder in (ROOT / "tests", PACKAGE / "testing"):
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    yield node.name


def ids_in(name: str) -> set[str]:
    """Return the ids that a test's name carries."""
    is_test = name.startswith(("test_", "Test"))
    return {part for part in name.split("_")[1:] if is_test and re.fullmatch(r"b\d\d", part)}


def test_every_p0_and_p1_trap_has_a_test_that_names_it() -> None:
    named = {trap for name in names() for trap in ids_in(name)}
    missing = {
        trap: title
        for trap, title in (P0 | P1).items()
        if trap not in named and trap not in NOT_APPLICABLE
    }
    assert not missing, "\n".join(f"{trap}: {title}" for trap, title in missing.items())


def test_the_list_is_whole_and_exempts_only_what_no_test_names() -> None:
    assert (len(P0), len(P1)) == (16, 44)
    assert not P0.keys() & P1.keys()
    assert NOT_APPLICABLE.keys() <= (P0 | P1).keys()
    named = {trap for name in names() for trap in ids_in(name)}
    assert not NOT_APPLICABLE.keys() & named


def test_an_id_is_a_word_of_its_own() -> None:
    assert ids_in("test_b24_b25_appends") == {"b24", "b25"}
    assert ids_in("test_sub24_b2_b245") == set()
    assert ids_in("helper_b24_x") == set()
