"""Write docs/reference.md: every public name of `mtml_deploy`, from its docstring.

Run by `make reference`; a test fails where the page is not what this writes.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import is_dataclass
from pathlib import Path

import mtml_deploy

PAGE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

What `import mtml_deploy as md` offers. Written by `make reference` from the docstrings; the tour:
[python.md](python.md).
"""
SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Example")


def page() -> str:
    """The whole page."""
    names = [name for name in mtml_deploy.__all__ if name != "__version__"]
    parts = [HEAD]
    for name in names:
        value = getattr(mtml_deploy, name)
        parts += [f"## {name}\n"]
        parts += class_parts(value) if inspect.isclass(value) else function_parts(name, value)
    return "\n".join(parts)


def function_parts(name: str, function: object) -> list[str]:
    """Signature and text of a function."""
    return [f"```python\n{signature(name, function)}\n```\n", text(function)]


def class_parts(kind: type) -> list[str]:
    """Text of a class and of what it offers; how it is made where a user makes it."""
    parts = [text(kind)]
    for name, value in members(kind):
        if isinstance(value, property):
            parts.append(f"### {kind.__name__}.{name}\n\n{text(value)}")
            continue
        function = value.__func__ if isinstance(value, classmethod) else value
        title = f"{kind.__name__}.{name}"
        parts.append(f"### {title}\n\n```python\n{signature(title, function)}\n```\n")
        parts.append(text(function))
    return parts


def members(kind: type) -> list[tuple[str, object]]:
    """Public methods and properties in the order they are written, those of bases last."""
    found: dict[str, object] = {}
    for owner in kind.__mro__:
        if not owner.__module__.startswith("mtml_deploy"):
            continue
        for name, value in vars(owner).items():
            described = isinstance(value, property | classmethod) or inspect.isfunction(value)
            if described and not name.startswith("_") and inspect.getdoc(value):
                found.setdefault(name, value)
    return list(found.items())


def signature(name: str, function: object) -> str:
    """How it is called, one line if that is short."""
    asked = inspect.signature(function)  # type: ignore[arg-type]
    shown = []
    star = False
    for parameter in asked.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            star = True
            shown.append("*")
        default = "" if parameter.default is inspect.Parameter.empty else default_text(parameter)
        shown.append(f"{parameter.name}: {parameter.annotation}{default}")
    result = f" -> {asked.return_annotation}"
    line = f"{name}({', '.join(shown)}){result}"
    if len(line) <= 96:
        return line
    return f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){result}"


def default_text(parameter: inspect.Parameter) -> str:
    """A default as it would be written; what is made by a function has no short form."""
    return " = ..." if callable(parameter.default) else f" = {parameter.default!r}"


def text(value: object) -> str:
    """A docstring as Markdown."""
    lines = (inspect.getdoc(value) or "").splitlines()
    if is_dataclass(value) and not lines:
        return ""
    parts: list[str] = []
    section = ""
    body: list[str] = []

    def close() -> None:
        if section:
            parts.append(section_text(section, body))
        elif any(body):
            parts.append("\n".join(body).strip() + "\n")

    for line in lines:
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            close()
            section, body = line.rstrip(":"), []
        else:
            body.append(line)
    close()
    return "\n".join(parts)


def section_text(section: str, body: list[str]) -> str:
    """One section: a list where it names things, code where it is an example."""
    plain = inspect.cleandoc("\n".join(body))
    if section == "Example":
        words, _, code = plain.partition(">>>")
        shown = f"```python\n>>>{code}\n```\n" if code else ""
        return f"{words.strip()}\n\n{shown}" if words.strip() else shown
    if section in ("Returns", "Yields"):
        return f"**{section}** {' '.join(plain.split())}\n"
    entries: list[str] = []
    for line in plain.splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        elif line.strip():
            entries.append(re.sub(r"^([\w, ]+):", r"`\1`:", line))
    return f"**{section}**\n\n" + "".join(f"- {entry}\n" for entry in entries)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
