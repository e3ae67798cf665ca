"""What every vehicle has besides its body: windows, doors, lamps, plate, grille, mirrors, bed."""

from __future__ import annotations

from typing import Final

from mtml_train.synthetic.body import BLACK, Panels
from mtml_train.synthetic.car_models import Model
from mtml_train.synthetic.loft import Panel
from mtml_train.synthetic.mesh import (
    DULL,
    GLASS,
    LAMP,
    PAINT,
    SOLID,
    Colour,
    MeshBuilder,
    Part,
)

_GLASS: Final[Colour] = (0.13, 0.16, 0.19)
_HEAD_LAMP: Final[Colour] = (0.93, 0.95, 0.97)
_TAIL_LAMP: Final[Colour] = (0.70, 0.05, 0.06)
_TURN_LAMP: Final[Colour] = (0.90, 0.50, 0.10)
_PLATE: Final[Colour] = (0.92, 0.92, 0.84)
_CHROME: Final[Colour] = (0.80, 0.81, 0.83)


def add_details(builder: MeshBuilder, model: Model, panels: Panels) -> None:
    """Lay windows, lamps and the like on the panels of a body.

    Args:
        builder: takes the faces.
        model: the model that `panels` belong to.
        panels: as `add_body` returned them.
    """
    plan = model.plan
    panels.screen.paint_box(builder, (0.03, 0.05, 0.97, 0.93), _GLASS, material=GLASS)
    for panel, front_at_left in ((panels.left_windows, True), (panels.right_windows, False)):
        _side_windows(builder, panel, plan.windows, front_at_left=front_at_left)
    for panel, front_at_left in ((panels.left, True), (panels.right, False)):
        if plan.cargo is None:
            _doors(builder, panel, model, front_at_left=front_at_left)
        else:
            _ribs(builder, panel)
    _nose(builder, panels.nose, model)
    _tail(builder, panels.tail)
    if plan.cargo is None:
        panels.hatch.paint_box(builder, (0.07, 0.12, 0.93, 0.88), _GLASS, material=GLASS)
    else:
        line = _shade(_CHROME, 0.55)
        panels.hatch.paint_box(builder, (0.495, 0.02, 0.505, 0.97), line)
        for u in (0.42, 0.58):
            panels.hatch.paint_box(builder, (u - 0.012, 0.05, u + 0.012, 0.92), line)
    if panels.deck is not None:
        panels.deck.paint_box(builder, (0.0, 0.0, 1.0, 1.0), _shade(model.paint, 0.35))
        panels.deck.paint_box(builder, (0.10, 0.08, 0.90, 0.80), BLACK)
    _mirrors(builder, model, panels)


def _side_windows(builder: MeshBuilder, panel: Panel, count: int, *, front_at_left: bool) -> None:
    """Panes between pillars; the foremost is slanted like the windscreen by the panel itself."""
    pillar = 0.05 if count < 4 else 0.025
    first, last = 0.04, 0.96
    pane = (last - first - pillar * (count - 1)) / count
    for index in range(count):
        u = first + index * (pane + pillar)
        u = u if front_at_left else 1 - u - pane
        panel.paint_box(builder, (u, 0.10, u + pane, 0.88), _GLASS, material=GLASS)


def _doors(builder: MeshBuilder, panel: Panel, model: Model, *, front_at_left: bool) -> None:
    """Door gaps, handles and a sill strip."""
    width, height = panel.size_m
    gap, dark = 0.015 / width, _shade(model.paint, 0.45)
    cuts = (0.02, 0.50, 0.98) if model.plan.windows < 4 else (0.08, 0.24)
    for cut in cuts:
        u = cut if front_at_left else 1 - cut
        panel.paint_box(builder, (u - gap, 0.0, u + gap, 1.0), dark, material=PAINT)
    for cut in cuts[1:]:
        u = cut - 0.17 / width if front_at_left else 1 - cut
        handle = (u + 0.02 / width, 0.80, u + 0.16 / width, 0.80 + 0.045 / height)
        panel.paint_box(builder, handle, _shade(model.paint, 0.5))
    panel.paint_box(builder, (0.0, -0.05, 1.0, 0.06), _shade(model.trim, 0.7))


def _ribs(builder: MeshBuilder, panel: Panel) -> None:
    """Upright ribs of a cargo box."""
    for index in range(1, 7):
        u = index / 7
        panel.paint_box(builder, (u - 0.003, 0.0, u + 0.003, 1.0), (0.68, 0.69, 0.69))


def _nose(builder: MeshBuilder, panel: Panel, model: Model) -> None:
    """Grille, lamps, plate, logo and lower intake of the front end."""
    low, high = 0.94 - model.lamp_height, 0.94
    half = model.grille_width / 2
    grille = [(0.5 - half, high), (0.5 + half, high), (0.5 + half * 0.8, low - 0.06),
              (0.5 - half * 0.8, low - 0.06)]  # fmt: skip
    panel.paint(builder, grille, BLACK)
    middle = (low + high) / 2
    for v in (middle - 0.07, middle + 0.05):
        panel.paint_box(builder, (0.5 - half * 0.9, v, 0.5 + half * 0.9, v + 0.03), _CHROME)
    panel.paint_box(builder, (0.475, middle - 0.05, 0.525, middle + 0.09), _CHROME)
    panel.paint_box(builder, (0.20, -0.02, 0.80, 0.16), BLACK)
    panel.paint_box(builder, (0.39, 0.22, 0.61, 0.40), _PLATE, material=LAMP)
    panel.paint_box(builder, (0.41, 0.28, 0.59, 0.34), (0.25, 0.27, 0.35), material=LAMP)
    for left, right in ((0.02, 0.5 - half - 0.02), (0.5 + half + 0.02, 0.98)):
        outline = (left - 0.008, low - 0.02, right + 0.008, high + 0.02)
        panel.paint_box(builder, outline, _shade(_CHROME, 0.4))
        panel.paint_box(builder, (left, low, right, high), _HEAD_LAMP, material=LAMP)
        outer = left if left < 0.5 else right - 0.05
        panel.paint_box(builder, (outer, low, outer + 0.05, high), _TURN_LAMP, material=LAMP)
    for u in (0.08, 0.84):
        panel.paint_box(builder, (u, 0.05, u + 0.08, 0.15), _HEAD_LAMP, material=LAMP)


def _tail(builder: MeshBuilder, panel: Panel) -> None:
    """Lamps, plate, logo and bumper of the rear end."""
    panel.paint_box(builder, (0.08, 0.0, 0.92, 0.14), BLACK)
    panel.paint_box(builder, (0.38, 0.30, 0.62, 0.50), _PLATE, material=LAMP)
    panel.paint_box(builder, (0.40, 0.37, 0.60, 0.43), (0.25, 0.27, 0.35), material=LAMP)
    panel.paint_box(builder, (0.475, 0.68, 0.525, 0.82), _CHROME)
    for u in (0.0, 0.80):
        panel.paint_box(builder, (u, 0.55, u + 0.20, 0.93), _TAIL_LAMP, material=LAMP)
        inner = u + 0.13 if u < 0.5 else u
        panel.paint_box(builder, (inner, 0.60, inner + 0.07, 0.72), _HEAD_LAMP, material=LAMP)


def _mirrors(builder: MeshBuilder, model: Model, panels: Panels) -> None:
    """A mirror on each side of the windscreen, as parts of their own."""
    plan = model.plan
    foot = panels.screen.corners[0, 1]
    high = max(plan.belt + 0.04, 0.58 * plan.height)
    for side in (1.0, -1.0):
        near, far = side * (plan.width / 2 - 0.04), side * (plan.width / 2 + 0.16)
        x = float(foot[0]) - 0.35 * plan.screen_run - 0.12
        builder.box(
            Part(SOLID, 0, 2, (x, side * plan.width / 2, high)),
            (x, min(near, far), high),
            (x + 0.12, max(near, far), high + 0.16),
            _shade(model.paint, 0.8),
            material=DULL,
        )


def _shade(colour: Colour, factor: float) -> Colour:
    """`colour` made darker."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor
