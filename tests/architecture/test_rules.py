"""House rules that a look at the syntax tree can hold."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator

from tests.architecture.source import Module, modules

ADAPTER_CLASSES = {
    "Neo4jGraphInterface",
    "SQLiteGraph",
    "SqliteGraphInterface",
    "QdrantDB",
    "EmbeddedVectorDB",
}
ABOVE_ADAPTERS = ("memora.core", "memora.agent", "memora.ops", "memora.sync", "memora.cli")
ABOVE_ADAPTERS = (*ABOVE_ADAPTERS, "memora.server", "memora.mcp", "memora.schema")


def places(rule: Callable[[ast.AST], bool], *, but: tuple[str, ...] = ()) -> list[str]:
    """Where the rule matches, outside of the modules that may."""
    return [
        f"{module.where(node)}: {ast.unparse(node)[:80]}"
        for module in modules().values()
        if not module.name.startswith(but)
        for node in ast.walk(module.tree)
        if rule(node)
    ]


def called(node: ast.AST) -> str:
    """The dotted name that is called, or an empty text."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def test_only_config_reads_the_environment() -> None:
    def reads(node: ast.AST) -> bool:
        text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        return text in {"os.environ", "os.getenv", "os.environb"}

    def imports_it(node: ast.AST) -> bool:
        names = [a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
        return any(name in {"environ", "getenv", "load_dotenv"} for name in names)

    assert not places(reads, but=("memora.config",))
    assert not places(imports_it)


def test_only_the_command_line_prints() -> None:
    assert not places(lambda node: called(node) == "print", but=("memora.cli",))


def test_time_comes_from_the_clock() -> None:
    asks = re.compile(r"(.*\.)?(datetime|date)\.(now|utcnow|today)|time\.(time|time_ns|localtime)")
    # The second compares an HTTP date with now if the peer's own clock is not in the answer.
    allowed = ("memora.core.clock", "memora.llm_backends._failures")
    assert not places(lambda n: bool(asks.fullmatch(called(n))), but=allowed)


def test_ids_come_from_the_id_source() -> None:
    makes = re.compile(r"(uuid\.)?uuid[1345]|shortuuid\..*|secrets\..*")
    assert not places(
        lambda n: bool(makes.fullmatch(called(n))), but=("memora.core.ids", "memora.testing")
    )


def test_nobody_asks_which_backend_it_is_above_the_adapters() -> None:
    def compares(node: ast.AST) -> bool:
        if not isinstance(node, ast.Compare):
            return False
        sides = (node.left, *node.comparators)
        names = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
        return bool(names & {"backend", "backend_name", "dialect"})

    def asks_for_the_class(node: ast.AST) -> bool:
        return called(node) in {"isinstance", "issubclass"} and bool(
            ADAPTER_CLASSES & {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node)}
        )

    assert not places(compares, but=adapters())
    assert not places(asks_for_the_class, but=adapters())


def adapters() -> tuple[str, ...]:
    return tuple(name for name in modules() if not name.startswith(ABOVE_ADAPTERS))


def test_no_logging_set_up_no_sleep_no_stub() -> None:
    banned = {"logging.basicConfig", "load_dotenv", "time.sleep", "warnings.simplefilter"}
    assert not places(lambda node: called(node) in banned)

    def stub(node: ast.AST) -> bool:
        return isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)

    assert not places(stub)


def test_logging_takes_arguments_not_ready_made_text() -> None:
    levels = {"debug", "info", "warning", "error", "exception", "critical", "log"}

    def formats(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return False
        if node.func.attr not in levels or "logger" not in ast.unparse(node.func.value):
            return False
        return any(isinstance(arg, ast.JoinedStr | ast.BinOp) for arg in node.args)

    assert not places(formats)


def test_nothing_is_left_to_do_later() -> None:
    later = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    found = [
        f"{module.path}:{line}"
        for module in modules().values()
        for line, text in comments(module)
        if later.search(text)
    ]
    assert not found


def comments(module: Module) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
