"""Named queries in `.sql` and `.cypher` files.

```sql
-- name: find_user
-- One line or more that say what it is for; they are not sent.
SELECT ...
```

A `.cypher` file writes `//` in place of `--`. Adapters read their queries into module constants,
so a name that is not there fails when the adapter is imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast, final

_COMMENT = {"sql": "--", "cypher": "//"}


@final
class Queries(Mapping[str, LiteralString]):
    """The queries of one file by name; read-only."""

    def __init__(self, source: str, queries: Mapping[str, LiteralString]) -> None:
        self._source = source
        self._queries = dict(queries)

    def __getitem__(self, name: str) -> LiteralString:
        query = self._queries.get(name)
        if query is None:
            raise KeyError(f"{self._source} has no query named {name!r}")
        return query

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


@cache
def load(package: str, filename: str) -> Mapping[str, LiteralString]:
    """Return the queries of a file that ships in a package; each file is read once.

    Args:
        package: Import name of the package, such as `memora.graph_db.sqlite`.
        filename: Path below it, with `/`, such as `queries/user.sql`.

    Raises:
        ValueError: The file is malformed: text before the first name, a name twice, an empty query.
    """
    text = files(package).joinpath(*filename.split("/")).read_text("utf-8")
    return parse(text, filename)


def parse(text: str, filename: str) -> Mapping[str, LiteralString]:
    """Return the queries of a file's text.

    Args:
        text: What the file holds.
        filename: Tells the dialect by its ending, and names the file in errors.
    """
    comment = _COMMENT[filename.rpartition(".")[2]]
    heading = re.compile(rf"^{comment} name: *(\S+) *$", re.MULTILINE)
    before, *parts = heading.split(text)
    if _without_leading_comments(before, comment):
        raise ValueError(f"{filename}: text before the first '{comment} name:'")
    queries: dict[str, LiteralString] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        query = _without_leading_comments(body, comment)
        if not name.isidentifier() or name in queries or not query:
            raise ValueError(f"{filename}: query {name!r} is misnamed, empty, or there twice")
        # Files of the package are as much ours as literals in the code are.
        queries[name] = cast("LiteralString", query)
    return Queries(filename, queries)


def _without_leading_comments(body: str, comment: str) -> str:
    lines = body.strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].startswith(comment)):
        del lines[0]
    return "\n".join(lines).strip().removesuffix(";").rstrip()
