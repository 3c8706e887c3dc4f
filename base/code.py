"""What code does, as hashes: of a function, and of all in the project that it reaches.

A definition (a function, a class or a constant of a module) is told by its syntax tree without docstrings, comments,
annotations of functions, imports and the places of what it names: `perturb.CALM` and a `CALM` imported from elsewhere are
one. So moving a definition, renaming a module or mending a sentence changes no hash, while any edit that could change a
number does. What it names is followed through imports, annotations included, since they tell whose methods are called.
The hash is of Python's grammar, not of one version's `ast.dump`: Python 3.11 to 3.14 give the same.
"""

import ast
import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from base import ROOT

CARRIERS, DECIDE = ("base", "configs", "runs.folder"), ("base.rng", "configs.row_kinds")
"""Packages and modules whose code is not followed, since what they carry is hashed itself; and those in them that are."""

WHOLE, LOOSE = "", "()"  # in place of a name: all of a module; what is done when it is loaded
_SKIPPED = {
    "ctx",
    "kind",
    "type_comment",
    "type_ignores",
}  # differ between versions of Python, or say nothing
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


class Place(NamedTuple):
    """A definition: its module and its name there, or WHOLE or LOOSE."""

    module: str
    name: str


@dataclass(frozen=True)
class Module:
    """The top level of a file. defined: by name, the statements that bind it. loose: what is done when it is loaded.
    imported: by the name it has here, where in the project it is from."""

    name: str
    defined: Mapping[str, list[ast.stmt]]
    loose: list[ast.stmt]
    imported: Mapping[str, Place]


def of(*roots: Place, root: Path = ROOT, without: Collection[str] = ()) -> dict[str, str]:
    """What some definitions do, and all that they reach: name -> hash. Definitions of one name share one hash.

    Args:
        roots: where to begin. KeyError where there is no such definition.
        root: folder of the code.
        without: modules that are left out, besides CARRIERS.
    """
    found: dict[str, set[str]] = {}
    for place in reached(roots, root, frozenset(without)):
        found.setdefault(place.name, set()).add(_told(place, root)[0])
    return {name: _sha256("".join(sorted(hashes)))[:16] for name, hashes in sorted(found.items())}


def reached(roots: Collection[Place], root: Path = ROOT, without: frozenset[str] = frozenset()) -> set[Place]:
    """The definitions that some definitions reach, themselves included."""
    waiting, seen = list(roots), set[Place]()
    for place in roots:
        if place.name not in (WHOLE, *module(place.module, root).defined):
            raise KeyError(f"{place.module} defines no {place.name}")
    while waiting:
        place = waiting.pop()
        if place in seen or carries(place.module, {*CARRIERS, *without}):
            continue
        seen.add(place)
        waiting += _told(place, root)[1]
    return {place for place in seen if _told(place, root)[0]}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def carries(name: str, carriers: Collection[str] = CARRIERS) -> bool:
    """Whether a module only carries values from a file to a function."""
    return name not in DECIDE and any(name == one or name.startswith(f"{one}.") for one in carriers)


@cache
def module(name: str, root: Path = ROOT) -> Module:
    """A module of the project, parsed."""
    path = _file(name, root)
    assert path is not None
    defined: dict[str, list[ast.stmt]] = {}
    loose: list[ast.stmt] = []
    imported: dict[str, Place] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            imported |= _imports(statement.body, root)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            imported |= _imports([statement], root)
        elif isinstance(statement, ast.If) and "__name__" in ast.unparse(statement.test):
            continue
        elif names := _bound(_own([statement])):
            for bound in names:
                defined.setdefault(bound, []).append(statement)
        elif not _is_text(statement):
            loose.append(statement)
    return Module(name, defined, loose, imported)


def _file(name: str, root: Path) -> Path | None:
    """The file of a module or package of the project; None for others."""
    place = root / name.replace(".", "/")
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imports(statements: Sequence[ast.AST], root: Path) -> dict[str, Place]:
    """What import statements bind, of the project: a module, or a name in one."""
    found = {}
    for node in statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if _file(alias.name, root):
                    found[alias.asname or alias.name.split(".")[0]] = Place(alias.name, "")
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if _file(inner, root):
                    found[alias.asname or alias.name] = Place(inner, "")
                elif _file(node.module, root):
                    found[alias.asname or alias.name] = Place(node.module, alias.name)
    return found


def _own(nodes: Iterable[ast.AST]) -> list[ast.AST]:
    """Some nodes and all below them, without the insides of the scopes among them."""
    found, waiting = [], list(nodes)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if not isinstance(node, _SCOPES):
            waiting += ast.iter_child_nodes(node)
    return found


def _bound(own: Iterable[ast.AST]) -> set[str]:
    """Names that the nodes of a scope bind there; imports are told apart."""
    found: set[str] = set()
    for node in own:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            found |= {node.name} if node.name else set()
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a docstring, or a string that stands for one."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _told(place: Place, root: Path) -> tuple[str, frozenset[Place]]:
    """The hash of one definition ("" where there is nothing but what it names), and the places that it names."""
    here = module(place.module, root)
    named = {Place(place.module, LOOSE)} if here.loose else set()
    if place.name == WHOLE:
        return "", frozenset(named | {Place(place.module, name) for name in here.defined})
    if place.name == LOOSE:
        statements = here.loose
    elif place.name in here.defined:
        statements = here.defined[place.name]
    else:
        return "", frozenset({here.imported[place.name]} if place.name in here.imported else ())
    teller = _Teller(here, root)
    told = [teller.tell(statement) for statement in statements]
    return _sha256(repr(told)), frozenset(named | teller.named)


class _Teller:
    """Tells nodes as nested tuples that hold what they do, and collects in `named` what they name of the project."""

    def __init__(self, here: Module, root: Path) -> None:
        self.here, self.root = here, root
        self.named: set[Place] = set()
        self.scopes: list[dict[str, Place | None]] = []  # of the functions around a node: what is bound there

    def tell(self, node: Any) -> Any:
        """What a node does. Annotations of functions are followed and not told."""
        if isinstance(node, list):
            return tuple(self.tell(item) for item in node if not self._silent(item))
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute) and (place := self._place(node)) is not None:
            self.named.add(place)
            return ("name", place.name)
        if isinstance(node, _SCOPES):
            return self._scope(node)
        if isinstance(node, ast.arg):
            return ("arg", node.arg)
        if isinstance(node, ast.JoinedStr):
            return ("text", *(self.tell(part) for part in _merged(node.values)))
        return self._fields(node)

    def _fields(self, node: ast.AST) -> tuple:
        fields = [(name, getattr(node, name, None)) for name in node._fields if name not in _SKIPPED]
        return type(node).__name__, *(
            (name, self.tell(value)) for name, value in fields if value not in (None, [])
        )

    def _silent(self, node: object) -> bool:
        return isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.AST) and _is_text(node))

    def _scope(self, node: ast.AST) -> tuple:
        """A function, class or comprehension: what its header does out here, then its inside with its own names."""
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        arguments: list[ast.arg] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            given = node.args
            some = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            arguments = [argument for argument in some if argument is not None]
            for note in (*(argument.annotation for argument in arguments), getattr(node, "returns", None)):
                self._follow(note)
        inside = _own(ast.iter_child_nodes(node))
        inner: dict[str, Place | None] = dict.fromkeys(_bound(inside))
        if function:
            inner |= dict.fromkeys(argument.arg for argument in arguments)
            inner |= _imports(
                [part for part in inside if isinstance(part, ast.Import | ast.ImportFrom)], self.root
            )
            outer = {
                name for part in inside if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names
            }
            inner = {name: place for name, place in inner.items() if name not in outer}
        self.scopes.append(inner)
        told = self._fields(node)
        self.scopes.pop()
        return told

    def _follow(self, note: ast.AST | None) -> None:
        """Collect what an annotation names, also where it is written as a text."""
        if note is None:
            return
        for part in ast.walk(note):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                with contextlib.suppress(SyntaxError):
                    self._follow(ast.parse(part.value, mode="eval").body)
        self.tell(note)

    def _resolved(self, name: str) -> Place | None:
        """Where in the project a name is from; None for locals, builtins and other libraries."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name in self.here.defined:
            return Place(self.here.name, name)
        return self.here.imported.get(name)

    def _name(self, node: ast.Name) -> tuple:
        place = self._resolved(node.id)
        if place is None:
            return ("name", node.id)
        self.named.add(place)
        return ("name", place.name or place.module.rpartition(".")[2])

    def _place(self, node: ast.Attribute) -> Place | None:
        """The definition that `module.name` names, or `package.module.name`; None where it is something else."""
        below = self._place(node.value) if isinstance(node.value, ast.Attribute) else None
        if isinstance(node.value, ast.Name):
            below = self._resolved(node.value.id)
        if below is None or below.name:
            return None
        inner = f"{below.module}.{node.attr}"
        return Place(inner, WHOLE) if _file(inner, self.root) else Place(below.module, node.attr)


def _merged(parts: list[ast.expr]) -> Iterator[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: versions of Python cut them differently."""
    text = ""
    for part in parts:
        if isinstance(part, ast.Constant):
            text += str(part.value)
            continue
        if text:
            yield ast.Constant(text)
        text = ""
        yield part
    if text:
        yield ast.Constant(text)
