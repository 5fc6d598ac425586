"""Names and paths of an expression: what each of them reads, and why it cannot be read."""

from __future__ import annotations

import ast
import unicodedata
from typing import Any, cast

from rtcdp.aggregates import hashable, unhashable
from rtcdp.rules.expressions.comparisons import Comparisons
from rtcdp.rules.expressions.inference import TYPE_OF, comparable, shown
from rtcdp.rules.expressions.names import EVENT_FIELDS, EVENT_ROOTS, did_you_mean, listed
from rtcdp.rules.expressions.scope import Defined
from rtcdp.rules.expressions.signatures import SIGNATURES
from rtcdp.rules.expressions.teaching import about_boolean
from rtcdp.rules.expressions.tokens import FAN_OUT
from rtcdp.rules.expressions.tree import EACH, EventField, Name, Node, Part, Path, Span, Type, moved, spell_key, walk

MOST_STEPS = 16
LONGEST_STEP = 200
_FIELD_LIKENESS = 0.75  # more often than a field misspelled it is a property whose root is missing


class Paths(Comparisons):
    """One expression that is being read: what stands for something outside of it."""

    def _name(self, name: str, span: Span) -> Node:
        if literal := self._rewritten.literals.get(name):
            return literal
        name = self._rewritten.words.get(name, name)
        defined = self._scope.names.get(name)
        if defined is not None:
            if defined.kind == "list":
                return self._wrong(f"'{name}' is a list", span, f"write traits.NAME in {name}")
            if defined.keyed:
                return self._wrong(f"'{name}' has a value for each key", span, f"write {name}['KEY'], or top({name})")
            if defined.node is not None:
                self._count(sum(1 for _ in walk(defined.node)), span)
                return moved(defined.node, span)
            return Name(defined.kind, name, defined.type, span)
        if name in self._scope.fields:
            type_ = Type.TIME if name == "occurred" else Type.TEXT
            return EventField(cast("Any", name), type_, span)
        return self._unknown(name, span)

    def _unknown(self, name: str, span: Span) -> Node:
        """Why a name cannot be used here."""
        scope = self._scope
        if name in scope.roots:
            return self._wrong(f"'{name}' is not a value by itself", span, f"write {name}.NAME")
        if name in EVENT_ROOTS or name in EVENT_FIELDS:
            return self._wrong(f"'{name}' cannot be read here", span, f"this expression sees {scope.sees}")
        if name in scope.hidden:
            return self._wrong(f"'{name}' cannot be read here", span, scope.hidden[name])
        if name in SIGNATURES:
            return self._wrong(f"'{name}' is a function", span, f"write {SIGNATURES[name].call(name)}")
        return self._wrong(f"unknown name '{name}': expected {scope.expected}", span, self._instead(name))

    def _instead(self, name: str) -> str:
        """What may be meant by an unknown name."""
        scope = self._scope
        if hint := about_boolean(name):
            return hint
        if name == "stage":
            return "there is no lifecycle: define its stages"
        hint = did_you_mean(name, [*scope.names, *scope.roots]) or did_you_mean(name, scope.fields, _FIELD_LIKENESS)
        if not hint and "properties" in scope.roots:
            return f"write properties.{name}, or '{name}' in quotes if it is meant as text"
        trait = f"; a trait is traits.{name}" if "traits" in scope.roots else ""
        return hint or f"if it is meant as text, write '{name}' in quotes{trait}"

    def _path(self, tree: ast.expr, span: Span) -> Node:
        steps: list[str] = []
        while not isinstance(tree, ast.Name):
            step: str | None = None
            if isinstance(tree, ast.Attribute):
                step, tree = self._rewritten.words.get(tree.attr, tree.attr), tree.value
            elif isinstance(tree, ast.Subscript):
                step, tree = self._key(tree), tree.value
            if step is None:
                return self._no_part(tree)
            steps.append(step)
        steps.reverse()
        root = self._rewritten.words.get(tree.id, tree.id)
        if root not in self._scope.roots:
            defined = self._scope.names.get(root)
            if defined is not None and defined.keyed and len(steps) == 1 and steps[0] != EACH:
                return self._part(root, unicodedata.normalize("NFC", steps[0]), defined, span)
            return self._not_a_root(root, self._span(tree))
        if problem := _fault_of_steps(steps):
            return self._wrong(problem, span)
        parts = tuple(unicodedata.normalize("NFC", step) for step in steps)
        type_ = Type.LIST if EACH in parts else self._scope.planned(root, parts)
        return Path(cast("Any", root), parts, type_, span)

    def _part(self, name: str, key: str, defined: Defined, span: Span) -> Node:
        if comparable(TYPE_OF[type(unhashable(key))], defined.key):
            return Part(name, key, defined.type, span)
        return self._wrong(f"each key of {name} is {shown(defined.key)}, not {spell_key(key)}", span)

    def _key(self, tree: ast.Subscript) -> str | None:
        """What stands between the brackets: EACH for nothing, a constant as `hashable`; None for anything else."""
        if not isinstance(tree.slice, ast.Name):
            return None
        if tree.slice.id == FAN_OUT:
            return EACH
        literal = self._rewritten.literals.get(tree.slice.id)
        if literal is None or literal.value == EACH or literal.type is not TYPE_OF.get(type(literal.value)):
            return None
        return hashable(literal.value)

    def _no_part(self, tree: ast.expr) -> Node:
        name = self._rewritten.words.get(tree.id, tree.id) if isinstance(tree, ast.Name) else ""
        if (defined := self._scope.names.get(name)) is not None and defined.keyed:
            return self._wrong(f"a key of {name} must be written out", self._span(tree), f"write {name}['KEY']")
        return self._wrong("this has no parts", self._span(tree), "only traits, properties and context have")

    def _not_a_root(self, root: str, span: Span) -> Node:
        if root in EVENT_ROOTS:
            return self._wrong(f"'{root}' cannot be read here", span, f"this expression sees {self._scope.sees}")
        if root in self._scope.names or root in self._rewritten.literals:
            defined = self._scope.names.get(root)
            hint = "only traits, properties and context have"
            if defined is not None and defined.kind == "feature":
                hint = f"write {root}['KEY']" if defined.keyed else "only features with 'by' have"
            return self._wrong("this has no parts", span, hint)
        roots = [f"{name}.NAME" for name in self._scope.roots]
        hint = did_you_mean(root, self._scope.roots)
        return self._wrong(f"unknown name '{root}': expected {listed(roots)}", span, hint)


def _fault_of_steps(steps: list[str]) -> str:
    """What is wrong with the parts of a path; empty if nothing is."""
    if steps[0] == EACH:
        return "a name is expected before '[]'"
    if len(steps) > MOST_STEPS:
        return f"the path has more than {MOST_STEPS} parts"
    if any(step.startswith("\0") for step in steps):
        return "a part of a path is a text"
    if any(not step or len(step) > LONGEST_STEP for step in steps):
        return f"a part of a path has 1 to {LONGEST_STEP} characters"
    return ""
