"""Texts that may hold hints: of the sources, and code in documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
from helpers_hints import PROGRAM, ROOT, TARGET, Text, commands, faults

_EXTRAS = re.compile(r"\bextras?\s+((?:`[a-z-]+`(?:, | and | or )?)+)")
"""Extras as prose names them."""


def source_texts(path: Path) -> Iterator[Text]:
    """Every string of a module, joined, and the extras that calls name.

    Args:
        path: a .py file.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spans = _callbacks(path)
    where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    inner: set[int] = set()  # parts of a text that was given as a whole
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "MissingExtraError":
            for name in _constants(node.args[1:2]):
                yield Text(f"{where}:{node.lineno}", f"mtml-reid[{name}]")
        if isinstance(node, ast.Call) and _called(node) == "_optional":
            for name in _constants(node.args[2:3]):
                yield Text(f"{where}:{node.lineno}", f"mtml-reid[{name}]")
        if id(node) in inner or (text := _joined(node)) is None:
            continue
        inner |= {id(child) for child in ast.walk(node)}
        command = next(
            (found for found, first, last in spans if first <= node.lineno <= last), None
        )
        yield Text(f"{where}:{node.lineno}", text, command, runnable=id(node) not in docs)


def _called(node: ast.Call) -> str:
    """Name of what is called."""
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _constants(nodes: list[ast.expr]) -> Iterator[str]:
    """Every literal text an expression may give."""
    for node in nodes:
        for child in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                yield child.value


def _joined(node: ast.AST) -> str | None:
    """The text of a string expression, "{}" for what is put in; None for another expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _joined(node.left), _joined(node.right)
        if left is not None or right is not None:
            return f"{'{}' if left is None else left}{'{}' if right is None else right}"
    return None


def _callbacks(path: Path) -> list[tuple[click.Command, int, int]]:
    """Command, first and last line of each function that is one."""
    found = []
    lines = {
        node.name: (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for command in commands().values():
        callback = command.callback
        while hasattr(callback, "__wrapped__"):
            callback = callback.__wrapped__
        if callback is None or Path(callback.__code__.co_filename) != path:
            continue
        if callback.__name__ in lines:
            found.append((command, *lines[callback.__name__]))
    return found


def document_texts(path: Path) -> Iterator[Text]:
    """Every code span and every line of the code blocks of a document, or of a workflow.

    Args:
        path: Markdown, YAML or a Makefile.
    """
    text = path.read_text(encoding="utf-8")
    where = str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
    if path.suffix != ".md":
        for line in text.replace("\\\n", " ").splitlines():
            yield from _line(where, line)
        return
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
    for language, block in blocks.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            runnable = language == "bash" and "..." not in line
            yield from _line(where, line.removeprefix("$ "), runnable=runnable)
    prose = blocks.sub("", text)
    for names in _EXTRAS.findall(prose):
        for name in re.findall(r"`([^`]+)`", names):
            yield Text(where, f"mtml-reid[{name}]")
    for flag in re.findall(r"(?<![\w`-])--[a-z][a-z-]+", re.sub(r"`[^`]*`|<!--.*?-->", "", prose)):
        yield Text(where, f"say {flag}")
    for span in re.findall(r"`([^`]+)`", prose):
        yield Text(where, f"`{' '.join(span.split())}`")
        yield from _named_alone(where, span)


def _line(where: str, line: str, *, runnable: bool = False) -> Iterator[Text]:
    """A line of shell, where it calls a program of this project."""
    line = re.sub(r"^\s*(?:- run: )?make ", "run make ", line).strip()
    if PROGRAM.search(line) or TARGET.search(line):
        yield Text(where, line, runnable=runnable)


def _named_alone(where: str, span: str) -> Iterator[Text]:
    """A command without its program: `gallery add --camera N`."""
    if not re.match(r"[a-z-]+ .*--", span):
        return
    texts = []
    for words in commands():
        program, *rest = words.split()
        if rest and rest[-1] == span.split()[0]:
            full = " ".join([program, *rest[:-1], span])
            texts.append(Text(where, full if program.startswith("mtml") else f"-m {full}"))
    if texts and all(faults(text) for text in texts):
        yield texts[0]
