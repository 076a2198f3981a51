"""Every query of what belongs to a person names the person, and not only the organization."""

from __future__ import annotations

import re

from tests.architecture.test_queries import NO_TENANT, files

# Tables and labels whose rows carry the id of their user.
_SQL = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE)\s+"
    r"(?:main\.)?(user|interaction|memory|memory_version|job|tombstone|idempotency)\b",
    re.IGNORECASE,
)
_CYPHER = re.compile(r":(User|Interaction|Memory|Job|Tombstone|Idempotency)\b")
_NAMES_USER = re.compile(r"[$:]\w*user_ids?\b|\b\w+\.user_id\b")
# Queries of the whole organization, by the stem of their file, and why.
OF_ORGANIZATION = {
    "jobs.lock_job": "a job is found by its organization and id",
    "jobs.claim_job": "a job is found by its organization and id",
    "jobs.find_job": "a job is found by its organization and id",
    "jobs.claim": "a job is found by its organization and id",
    "jobs.find": "a job is found by its organization and id",
    "jobs.page": "the jobs of an organization, of one user where the caller filters",
    "organization.erase_jobs": "erases all that the organization has",
    "organization.some_users": "erases all that the organization has",
    "memory.page_of_organization": "lists what a whole organization remembers",
    "user.page": "lists the organization's users",
    "apply.memory_exists": "an id is new in the whole organization, or refused",
    "apply.chain_exists": "a chain is new in the whole organization, or refused",
    "erasure.count_organization": "counts what is left of a whole organization",
    "repair.chains_of": "repairs one record that inspect found, by its own key",
    "repair.drop_external_id": "repairs one record that inspect found, by its own key",
    "repair.drop_stray_sources": "repairs one record that inspect found, by its own key",
    "repair.free_job": "repairs one record that inspect found, by its own key",
    "repair.interaction_times": "repairs one record that inspect found, by its own key",
    "repair.job_times": "repairs one record that inspect found, by its own key",
    "repair.memory_times": "repairs one record that inspect found, by its own key",
    "repair.place": "repairs one record that inspect found, by its own key",
    "repair.recount": "repairs one record that inspect found, by its own key",
    "repair.rename_jobs": "repairs one record that inspect found, by its own key",
    "repair.unlink": "repairs one record that inspect found, by its own key",
    "repair.user_times": "repairs one record that inspect found, by its own key",
    "repair.versions": "repairs one record that inspect found, by its own key",
    "transfer.interaction": "moves whole organizations; every record brings its user along",
    "transfer.job": "moves whole organizations; every record brings its user along",
    "transfer.load_user": "moves whole organizations; every record brings its user along",
    "transfer.memory": "moves whole organizations; every record brings its user along",
    "transfer.users": "moves whole organizations; every record brings its user along",
}


def lacking() -> set[str]:
    """Return the queries of a user's rows that name no user."""
    found: set[str] = set()
    for file, (stem, queries) in files().items():
        tables = _SQL if file.endswith(".sql") else _CYPHER
        for name, text in queries.items():
            if {stem, f"{stem}.{name}"} & NO_TENANT.keys():
                continue
            if tables.search(text) and not _NAMES_USER.search(text):
                found.add(f"{stem}.{name}")
    return found


def test_b01_b08_every_query_of_a_users_rows_names_the_user() -> None:
    assert lacking() - OF_ORGANIZATION.keys() == set()


def test_exempted_queries_name_no_user_indeed() -> None:
    assert OF_ORGANIZATION.keys() - lacking() == set()


def test_the_patterns_find_what_they_are_for() -> None:
    assert _SQL.search("SELECT text FROM memory WHERE org_id = :org_id")
    assert _CYPHER.search("MATCH (m:Memory {org_id: $org_id})")
    assert not _NAMES_USER.search("SELECT text FROM memory WHERE org_id = :org_id")
