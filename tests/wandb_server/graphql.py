"""Reads a GraphQL document and gives each field that it asks for, by name; refuses what is no document.

As much of the language (spec.graphql.org, October 2021, section 2) as the client of W&B writes: operations, variables with defaults,
aliases, arguments, fragments, and the directives @include and @skip.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"|\.\.\.|[A-Za-z_]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[{}()\[\]:=!@$]')
_IGNORED = re.compile(r"(?:[\s,\ufeff]|#[^\n]*)*")


class NotGraphQL(ValueError):
    """The document cannot be read."""


@dataclass(frozen=True, slots=True)
class Variable:
    name: str


@dataclass(slots=True)
class Node:
    """A field, or, without a name, a fragment's place."""

    name: str = ""
    alias: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    directives: dict[str, dict[str, Any]] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    fragment: str = ""


@dataclass(slots=True)
class Document:
    """The one operation that a request holds."""

    name: str = ""
    fields: list[Node] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    fragments: dict[str, list[Node]] = field(default_factory=dict)


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def document(self) -> Document:
        found = Document()
        while self._at < len(self._tokens):
            match self._peek():
                case "fragment":
                    self._take()
                    name = self._take()
                    self._take("on")
                    self._take()
                    found.fragments[name] = self._selection()
                case "{":
                    found.fields = self._selection()
                case _:
                    self._operation(found)
        return found

    def _operation(self, found: Document) -> None:
        if self._take() not in ("query", "mutation"):
            raise NotGraphQL("expected query, mutation or fragment")
        if self._peek() not in ("(", "{", "@"):
            found.name = self._take()
        if self._peek() == "(":
            self._take()
            while self._peek() != ")":
                self._variable(found)
            self._take()
        found.fields = self._selection()

    def _variable(self, found: Document) -> None:
        self._take("$")
        name = self._take()
        self._take(":")
        while self._peek() not in ("$", ")", "="):
            self._take()
        if self._peek() == "=":
            self._take()
            found.defaults[name] = self._value()

    def _selection(self) -> list[Node]:
        self._take("{")
        nodes = []
        while self._peek() != "}":
            nodes.append(self._spread() if self._peek() == "..." else self._field())
        self._take()
        return nodes

    def _spread(self) -> Node:
        self._take("...")
        if self._peek() not in ("on", "{", "@"):
            return Node(fragment=self._take(), directives=self._directives())
        if self._peek() == "on":
            self._take()
            self._take()
        return Node(directives=self._directives(), children=self._selection())

    def _field(self) -> Node:
        name = alias = self._take()
        if self._peek() == ":":
            self._take()
            name = self._take()
        arguments = self._arguments() if self._peek() == "(" else {}
        directives = self._directives()
        children = self._selection() if self._peek() == "{" else []
        return Node(name=name, alias=alias, arguments=arguments, directives=directives, children=children)

    def _directives(self) -> dict[str, dict[str, Any]]:
        found = {}
        while self._peek() == "@":
            self._take()
            name = self._take()
            found[name] = self._arguments() if self._peek() == "(" else {}
        return found

    def _arguments(self) -> dict[str, Any]:
        return self._pairs("(", ")")

    def _pairs(self, opening: str, closing: str) -> dict[str, Any]:
        self._take(opening)
        found = {}
        while self._peek() != closing:
            name = self._take()
            self._take(":")
            found[name] = self._value()
        self._take()
        return found

    def _value(self) -> Any:
        match self._peek():
            case "{":
                return self._pairs("{", "}")
            case "[":
                self._take()
                values = []
                while self._peek() != "]":
                    values.append(self._value())
                self._take()
                return values
            case "$":
                self._take()
                return Variable(self._take())
        return _literal(self._take())

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, expected: str = "") -> str:
        token = self._peek()
        if not token or (expected and token != expected):
            raise NotGraphQL(f"expected {expected or 'more'}, found {token or 'the end'}")
        self._at += 1
        return token


def parse(text: str) -> Document:
    """Raises NotGraphQL."""
    return _Reader(text).document()


def answer(document: Document, root: Mapping[str, Any], variables: Mapping[str, Any], unknown: Callable[[str], None]) -> dict[str, Any]:
    """What the document asks of `root`: mappings, lists, plain values, or functions of a field's arguments that return those.

    A field that is not there is null, and `unknown` is told its name.
    """
    given = {**document.defaults, **variables}

    def chosen(nodes: list[Node]) -> Iterator[Node]:
        for node in nodes:
            if not _bound(node.directives.get("include", {}).get("if", True), given):
                continue
            if _bound(node.directives.get("skip", {}).get("if", False), given):
                continue
            if node.name:
                yield node
            else:
                yield from chosen(document.fragments[node.fragment] if node.fragment else node.children)

    def of(value: Any, nodes: list[Node]) -> Any:
        if isinstance(value, list):
            return [of(one, nodes) for one in value]
        if not nodes or not isinstance(value, Mapping):
            return value
        found: dict[str, Any] = {}
        for node in chosen(nodes):
            if node.name not in value and node.name != "__typename":
                unknown(node.name)
            member = value.get(node.name)
            if callable(member):
                member = member(**{name: _bound(argument, given) for name, argument in node.arguments.items()})
            found[node.alias] = of(member, node.children)
        return found

    result: dict[str, Any] = of(root, document.fields)
    return result


def _bound(value: Any, given: Mapping[str, Any]) -> Any:
    if isinstance(value, Variable):
        return given.get(value.name)
    if isinstance(value, dict):
        return {name: _bound(member, given) for name, member in value.items()}
    if isinstance(value, list):
        return [_bound(member, given) for member in value]
    return value


def _literal(token: str) -> Any:
    words = {"true": True, "false": False, "null": None}
    if token in words:
        return words[token]
    if token.startswith('"'):
        return token.strip('"')
    try:
        return float(token) if set(token) & set(".eE") else int(token)
    except ValueError:
        return token  # an enum's word


def _tokens(text: str) -> Iterator[str]:
    at = _IGNORED.match(text).end()  # type: ignore[union-attr] # it matches nothing too
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise NotGraphQL(f"no token at {text[at : at + 20]!r}")
        yield token.group()
        at = _IGNORED.match(text, token.end()).end()  # type: ignore[union-attr]
