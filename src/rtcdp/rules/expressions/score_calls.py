"""`score`, `tier` and `rfm` in an expression: calls that are written out as comparisons."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from rtcdp.rules.expressions.names import did_you_mean, listed
from rtcdp.rules.expressions.paths import Paths
from rtcdp.rules.expressions.scoring import RFM, Cuts, Scored, digits, fault_of_names, fault_of_value, joined, numbers, score
from rtcdp.rules.expressions.tree import ListOf, Literal, Node, Span, Type, walk


class Scores(Paths, ABC):
    """One expression that is being read: its calls over cuts."""

    @abstractmethod
    def convert(self, tree: ast.expr) -> Node:
        """Python's tree to ours."""

    def _score(self, name: str, trees: Sequence[ast.expr], span: Span) -> Node:
        """`score`, `tier`, `rfm`: written out as comparisons with the constants of `cuts:`."""
        if name == "rfm":
            cuts = [self._cuts(trees[3], f".{part}") for part in RFM]
            values = [self._scored(tree, *one) for tree, one in zip(trees[:3], cuts, strict=True)]
            return joined([score(v, c, digits(c, span), span) for v, (_, c) in zip(values, cuts, strict=True)], span)
        named, found = self._cuts(trees[1])
        value = self._scored(trees[0], named, found)
        if name == "score":
            return score(value, found, numbers(found, span), span)
        names = self.convert(trees[2])
        if problem := fault_of_names(names, found):
            self.problems.append(problem)
            return Literal(None, Type.ANY, span)
        return score(value, found, cast("ListOf", names).items, span) if found else value  # type: ignore[arg-type] # texts

    def _cuts(self, tree: ast.expr, part: str = "") -> tuple[str, Cuts]:
        """Cuts by name: `value`, or `customers.recency`."""
        source = self._rewritten.words.get(ast.unparse(tree), ast.unparse(tree)) + part
        found = self._scope.cuts.get(source)
        if found is None:
            names = sorted(
                {name.partition(".")[0] if part else name for name in self._scope.cuts if bool(part) <= ("." in name)}
            )
            known = f"expected one of {listed(names)}" if names else "none are defined"
            with_parts = f" with {listed(RFM)}" if part else ""
            message = f"unknown cuts '{source.removesuffix(part)}'{with_parts}: {known}"
            self._wrong(message, self._span(tree), did_you_mean(source.removesuffix(part), names))
        return source, found or ()

    def _scored(self, tree: ast.expr, name: str, cuts: Cuts) -> Node:
        """A value that is compared with cuts; it counts as often as it stands in the comparisons."""
        value = self.convert(tree)
        self._count(len(cuts) * sum(1 for _ in walk(value)), value.span)
        if problem := fault_of_value(value, cuts, name, self._text):
            self.problems.append(problem)
            return Literal(None, Type.ANY, value.span)
        self._scope.scored.append(Scored(name, value))
        return value
