"""The unmarked vehicle of a model: its convex bodies and the panels that details are laid on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_train.synthetic.car_models import Model
from mtml_train.synthetic.loft import FRONT, REAR, SIDE_FRONT, SIDE_REAR, Level, Loft, Panel
from mtml_train.synthetic.mesh import DULL, SOLID, UNDER, Colour, MeshBuilder, Part

BLACK: Final[Colour] = (0.07, 0.07, 0.08)
_MIRROR: Final = np.array([1.0, -1.0, 1.0])
CARGO_PAINT: Final[Colour] = (0.80, 0.81, 0.80)


@dataclass(frozen=True)
class Panels:
    """Flat areas of a body, by place.

    Attributes:
        left: left side between the wheels, below the windows.
        right: right side between the wheels, below the windows.
        left_windows: left side of the cabin.
        right_windows: right side of the cabin.
        bonnet: bonnet, or the front wall under the windscreen where there is none.
        nose: front end with lamps and grille.
        screen: windscreen.
        tail: rear end with lamps.
        hatch: rear window, or the rear of a cargo box.
        roof: roof of the highest part; u runs from left to right, v towards the front.
        deck: what lies behind the cabin of a pickup; else None.
    """

    left: Panel
    right: Panel
    left_windows: Panel
    right_windows: Panel
    bonnet: Panel
    nose: Panel
    screen: Panel
    tail: Panel
    hatch: Panel
    roof: Panel
    deck: Panel | None = None


def add_body(builder: MeshBuilder, model: Model) -> Panels:
    """Add the bodies of `model`, without windows, lamps, wheels and marks.

    Args:
        builder: takes the faces.
        model: what to build.

    Returns:
        The panels of the body.
    """
    plan = model.plan
    front, half = plan.length / 2, plan.width / 2
    rear = -front if plan.cargo is None else plan.cargo
    middle = (front + rear) / 2
    group = builder.group((middle, 0.0, plan.belt))
    builder.box(
        Part(UNDER, group, 1, (0.0, 0.0, 0.1)),
        (-front * 0.9, -half * 0.82, plan.clearance * 0.75),
        (front * 0.9, half * 0.82, plan.belt * 0.6),
        BLACK,
        material=DULL,
    )
    body = builder.part(Part(SOLID, group, 1, (middle, 0.0, plan.belt / 2)))
    lower = _lower(model, rear)
    walls = (model.trim, model.paint, model.paint, model.paint)
    lower.add_to(builder, body, walls, dull=int(model.trim != model.paint))
    # the height of a truck is that of its cargo box, its cab is lower
    roof = plan.height if plan.cargo is None else plan.height * 0.78
    cabin = builder.part(Part(SOLID, group, 2, (middle, 0.0, roof)))
    upper = _upper(model, rear, roof)
    upper.add_to(builder, cabin, (model.paint, model.paint, model.paint))

    foot, head, crown = (upper.half_ring(level) for level in upper.levels)
    belt = lower.half_ring(lower.levels[-1])
    waist = lower.half_ring(lower.levels[-2])
    windows = _quad(foot[SIDE_FRONT], foot[SIDE_REAR], head[SIDE_FRONT], head[SIDE_REAR])
    doors = _doors(model, rear, half)
    flat = plan.bonnet < 0.3  # no bonnet: the wall between nose and windscreen takes its marks
    bonnet_foot = waist[FRONT] if flat else belt[FRONT]
    bonnet_head = belt[FRONT] if flat else np.array([lower.cowl, belt[FRONT, 1], plan.belt])
    panels = Panels(
        left=Panel(doors, body),
        right=Panel(_mirrored(doors), body),
        left_windows=Panel(windows, cabin),
        right_windows=Panel(_mirrored(windows), cabin),
        bonnet=Panel(_across(bonnet_foot, bonnet_head), body),
        nose=_end(lower, body, FRONT),
        screen=Panel(_across(foot[FRONT], head[FRONT]), cabin),
        tail=_end(lower, body, REAR),
        hatch=Panel(_across(foot[REAR] * _MIRROR, head[REAR] * _MIRROR), cabin),
        # seen from above with the front upwards, the vehicle's left is at the left
        roof=Panel(_across(crown[REAR] * _MIRROR, crown[FRONT] * _MIRROR), cabin),
    )
    if plan.cargo is not None:
        return _add_cargo(builder, panels, model, half)
    if plan.deck > 1.0:
        bed = np.array([foot[REAR, 0] - 0.05, belt[REAR, 1] * 1.45, plan.belt])
        end = np.array([-front + 0.12, belt[REAR, 1] * 1.45, plan.belt - 0.02])
        return replace(panels, deck=Panel(_across(end * _MIRROR, bed * _MIRROR), body))
    return panels


def _lower(model: Model, rear: float) -> Loft:
    """The painted lower body, from the sill to the belt."""
    plan = model.plan
    front, half = plan.length / 2, plan.width / 2
    waist = plan.clearance + 0.62 * (plan.belt - plan.clearance)
    # the waist follows the bonnet down, or the nose would be higher than the bonnet's end
    fall = plan.bonnet_drop
    levels = (
        Level(front - 0.08, rear + 0.06, half * 0.95, plan.clearance),
        Level(front, rear, half, plan.clearance + 0.15),
        Level(front - 0.03, rear + 0.01, half, waist, fall * 0.5),
        Level(front - 0.14, rear + 0.05, half * 0.96, plan.belt, fall, 0.03),
    )
    return Loft(levels, 0.45, 0.42, front - plan.bonnet, rear + plan.deck)


def _upper(model: Model, rear: float, roof: float) -> Loft:
    """The cabin, from the belt to the roof."""
    plan = model.plan
    foot_front = plan.length / 2 - max(plan.bonnet - 0.05, 0.15)
    foot_rear = rear + max(plan.deck, 0.06)
    top_front, top_rear = foot_front - plan.screen_run, foot_rear + plan.rear_run
    half = plan.width / 2 * 0.95
    levels = (
        Level(foot_front, foot_rear, half, plan.belt - 0.02),
        Level(top_front, top_rear, half - plan.tumble, roof - 0.06),
        Level(top_front - 0.18, top_rear + 0.15, half - plan.tumble - 0.13, roof),
    )
    middle = (top_front + top_rear) / 2
    return Loft(levels, 0.16, 0.14, middle, middle)


def _doors(model: Model, rear: float, half: float) -> NDArray[np.float64]:
    """Corners [2, 2, 3] of the left side between the wheels, metres."""
    plan = model.plan
    first = plan.axles[0] * plan.length - plan.wheel * 1.25
    last = max(plan.axles[-1] * plan.length + plan.wheel * 1.25, rear + 0.05)
    if plan.cargo is not None:  # the cab ends over the front wheel: its door is above the wheel
        first, last = plan.length / 2 - 0.35, rear + 0.1
    low, high = plan.clearance + 0.15, plan.belt - 0.04
    points = np.array([[x, half, z] for z in (low, high) for x in (first, last)])
    return points.reshape(2, 2, 3)


def _end(loft: Loft, part: int, row: int) -> Panel:
    """The flat front or rear end of the lower body."""
    low, high = (loft.half_ring(loft.levels[level])[row] for level in (1, -1))
    if row == REAR:
        low, high = low * _MIRROR, high * _MIRROR
    # lamps reach around the corners: the panel is wider than the flat end
    stretch = np.array([1.0, 1.45, 1.0])
    return Panel(_across(low * stretch, high * stretch), part)


def _add_cargo(builder: MeshBuilder, panels: Panels, model: Model, half: float) -> Panels:
    """Add the cargo box of a truck and move its rear, roof and side panels there."""
    plan = model.plan
    front, rear = (plan.cargo or 0.0) - 0.12, -plan.length / 2
    low, high = plan.clearance + 0.45, plan.height
    centre = ((front + rear) / 2, 0.0, (low + high) / 2)
    group = builder.group((centre[0], 0.0, plan.belt))
    box = builder.box(
        Part(SOLID, group, 1, centre), (rear, -half, low), (front, half, high), CARGO_PAINT
    )
    left = _quad((front, half, low), (rear, half, low), (front, half, high), (rear, half, high))
    tail = _across(np.array([rear, -half, low]), np.array([rear, -half, high]))
    top = _across(np.array([rear, -half, high]), np.array([front, -half, high]))
    whole = Panel(tail, box)
    return replace(
        panels,
        left=Panel(left, box),
        right=Panel(_mirrored(left), box),
        tail=whole.inset((0.0, 0.0, 1.0, 0.22)),
        hatch=whole.inset((0.0, 0.22, 1.0, 1.0)),
        roof=Panel(top * _MIRROR, box),
    )


def _quad(*corners: object) -> NDArray[np.float64]:
    return np.array(corners, dtype=np.float64).reshape(2, 2, 3)


def _across(foot: NDArray[np.float64], head: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners from one end's foot and head and their mirror images, that end at u = 1."""
    return _quad(foot * _MIRROR, foot, head * _MIRROR, head)


def _mirrored(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same area on the other side of the vehicle."""
    mirrored: NDArray[np.float64] = corners[:, ::-1] * _MIRROR
    return mirrored
