"""Small identity marks: the only difference between twins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_train.synthetic.body import CARGO_PAINT, Panels
from mtml_train.synthetic.car_models import Model, twin_group
from mtml_train.synthetic.loft import Panel
from mtml_train.synthetic.mesh import PAINT, Colour, MeshBuilder
from mtml_train.synthetic.roof import ROOF_KINDS
from mtml_train.synthetic.spec import SyntheticSpec

_ACCENTS: Final[tuple[Colour, ...]] = (
    (0.95, 0.15, 0.15), (0.98, 0.85, 0.10), (0.10, 0.70, 0.30), (0.10, 0.45, 0.95),
    (0.95, 0.50, 0.10), (0.85, 0.25, 0.75), (0.15, 0.85, 0.88), (0.97, 0.97, 0.97),
)  # fmt: skip
_CONTRAST: Final = 0.45
"""Least distance in colour between a mark and the paint under it (black to white is 1.73)."""

_SIDE_KINDS: Final = ("square", "disc", "triangle", "stripe", "letters", "chevron", "scratch",
                      "dent")  # fmt: skip
_FRONT_KINDS: Final = ("bonnet disc", "bonnet square", "bonnet stripe", "screen band",
                       "screen square", "bonnet chevron", "bonnet scratch")  # fmt: skip
_REAR_KINDS: Final = ("hatch disc", "hatch square", "tail letters", "hatch band", "tail triangle",
                      "tail scratch", "hatch chevron")  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """One mark on one panel.

    Attributes:
        panel: name of an attribute of `Panels`.
        shape: "square", "disc", "triangle", "stripe", "band", "letters", "chevron", "scratch" or
            "dent".
        u: place from left to right, 0..1.
        v: place upwards, 0..1.
        size_m: width of a compact shape, metres.
        colour: of the mark.
    """

    panel: str
    shape: str
    u: float
    v: float
    size_m: float
    colour: Colour


@dataclass(frozen=True)
class Identity:
    """All that tells one vehicle from its twins.

    Attributes:
        marks: on sides, front and rear; at least one on each.
        roof: one of `ROOF_KINDS`.
        bare_wheels: wheels without hubcap, numbered as in `add_wheels`.
        hub: colour of the hubs, or None.
        accent: colour that most marks share.
    """

    marks: tuple[Mark, ...]
    roof: str
    bare_wheels: tuple[int, ...]
    hub: Colour | None
    accent: Colour


def draw_identity(spec: SyntheticSpec, vehicle: int, model: Model) -> Identity:
    """The marks of a vehicle.

    Twins are dealt the kinds of their marks from one shuffled deck per place, so that two of them
    differ at every side as long as the deck lasts (seven kinds or more).

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1.
        model: its model.
    """
    split, group, place = twin_group(spec, vehicle)
    deck = np.random.default_rng([spec.seed, 13, split, group])
    rng = np.random.default_rng([spec.seed, 14, vehicle])

    def deal(kinds: tuple[str, ...]) -> str:
        return kinds[int(deck.permutation(len(kinds))[place % len(kinds)])]

    grounds = (model.paint,) if model.plan.cargo is None else (model.paint, CARGO_PAINT)
    accents = [accent for accent in _ACCENTS if _contrasts(accent, grounds)]
    order = deck.permutation(len(accents))
    accent = accents[order[place % len(accents)]]

    def colour() -> Colour:
        # a shared colour lets one side be matched with the other, but not always
        return accent if rng.random() < 0.65 else accents[rng.integers(len(accents))]

    size = 0.095 * model.plan.length
    marks = []
    for side in ("left", "right"):
        kind = deal(_SIDE_KINDS)
        u, v = rng.uniform(0.22, 0.78), rng.uniform(0.46, 0.60)
        marks.append(Mark(side, kind, u, v, size * rng.uniform(0.9, 1.15), colour()))
        if rng.random() < 0.5:
            shape = ("square", "disc")[rng.integers(2)]
            u = rng.uniform(0.25, 0.75)
            marks.append(Mark(f"{side}_windows", shape, u, 0.45, size * 0.6, colour()))
    for kinds in (_FRONT_KINDS, _REAR_KINDS):
        panel, shape = deal(kinds).split()
        u = rng.uniform(0.26, 0.40) if rng.random() < 0.5 else rng.uniform(0.60, 0.74)
        v = 0.60 if panel == "tail" else rng.uniform(0.40, 0.60)
        marks.append(Mark(panel, shape, u, v, size * rng.uniform(0.8, 1.0), colour()))
    wheels = 2 * len(model.plan.axles)
    bare = (int(rng.integers(wheels)),) if rng.random() < 0.4 else ()
    hub = colour() if rng.random() < 0.35 else None
    return Identity(tuple(marks), deal(ROOF_KINDS), bare, hub, accent)


def add_marks(builder: MeshBuilder, model: Model, panels: Panels, identity: Identity) -> None:
    """Lay the marks of `identity` on the panels, over everything that is there."""
    by_name = {name: getattr(panels, name) for name in {mark.panel for mark in identity.marks}}
    for mark in identity.marks:
        _add_mark(builder, by_name[mark.panel], mark, model.paint)


def _add_mark(builder: MeshBuilder, panel: Panel, mark: Mark, paint: Colour) -> None:
    """Lay one mark on its panel."""
    width, height = panel.size_m
    if mark.shape in ("band", "stripe"):
        box = _band(panel, mark)
        panel.paint_box(builder, box, mark.colour)
        return
    size = min(mark.size_m, 0.75 * height)
    scale = np.array([size / width, size / height])
    middle = np.array([mark.u, mark.v])
    rim: Colour = (0.95, 0.95, 0.95) if sum(mark.colour) < 2.0 else (0.10, 0.10, 0.12)
    for points, role in _SHAPES[mark.shape]:
        colour = {
            "mark": mark.colour,
            "rim": rim,
            "metal": (0.72, 0.71, 0.69) if sum(paint) < 1.5 else (0.30, 0.29, 0.28),
            "shade": tuple(value * 0.35 for value in paint),
            "shine": tuple(min(1.0, value * 0.6 + 0.4) for value in paint),
        }[role]
        red, green, blue = colour
        panel.paint(builder, middle + points * scale, (red, green, blue), material=PAINT)


def _band(panel: Panel, mark: Mark) -> tuple[float, float, float, float]:
    """Rectangle (u0, v0, u1, v1) of a long mark."""
    if mark.shape == "band":  # along the upper edge of a window
        return 0.05, 0.74, 0.95, 0.92
    if mark.panel == "bonnet":  # along the vehicle
        return mark.u - 0.06, 0.0, mark.u + 0.06, 1.0
    return 0.04, mark.v - 0.09, 0.96, mark.v + 0.09


def _contrasts(accent: Colour, grounds: tuple[Colour, ...]) -> bool:
    """Whether `accent` is far enough from all `grounds`."""
    return all(np.linalg.norm(np.subtract(accent, ground)) >= _CONTRAST for ground in grounds)


def _polygon(count: int, radius: float, turn: float = 0.0) -> NDArray[np.float64]:
    """float64 [count, 2]: a regular polygon around 0."""
    angle = np.arange(count) * (2 * np.pi / count) + turn
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _box(u0: float, v0: float, u1: float, v1: float) -> NDArray[np.float64]:
    """float64 [4, 2]: a rectangle."""
    return np.array([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])


def _line(u0: float, v0: float, u1: float, v1: float) -> NDArray[np.float64]:
    """float64 [4, 2]: a thick line, lower edge first."""
    return np.array([(u0, v0 - 0.06), (u1, v1 - 0.06), (u1, v1 + 0.06), (u0, v0 + 0.06)])


_SHAPES: Final[dict[str, tuple[tuple[NDArray[np.float64], str], ...]]] = {
    "square": ((_box(-0.5, -0.5, 0.5, 0.5), "rim"), (_box(-0.36, -0.36, 0.36, 0.36), "mark")),
    "disc": ((_polygon(14, 0.54), "mark"), (_polygon(10, 0.22), "rim")),
    "triangle": (
        (_polygon(3, 0.66, np.pi / 2), "rim"),
        (_polygon(3, 0.46, np.pi / 2), "mark"),
    ),
    "letters": tuple(
        (_box(u, -0.30, u + 0.26, 0.30), "mark") for u in (-0.86, -0.50, -0.14, 0.40, 0.76)
    ),
    "chevron": tuple(
        (np.array([(u, -0.5), (u + 0.3, -0.5), (u + 0.7, 0.5), (u + 0.4, 0.5)]), role)
        for u, role in ((-0.75, "mark"), (-0.30, "rim"), (0.15, "mark"))
    ),
    "scratch": (
        (_line(-1.1, -0.30, -0.1, 0.28), "metal"),
        (_line(-0.5, -0.36, 0.7, 0.20), "metal"),
        (_line(0.2, -0.20, 1.1, 0.34), "metal"),
    ),
    "dent": (
        (_polygon(12, 0.62), "shade"),
        (_polygon(12, 0.40) + np.array([0.10, -0.14]), "shine"),
    ),
}  # fmt: skip
"""Polygons of a shape in units of its size, painted in this order, with the role of the colour."""
