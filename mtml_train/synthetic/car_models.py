"""Vehicle models: body type, proportions, colour and trim. Twins share one model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from mtml_train.synthetic.mesh import Colour
from mtml_train.synthetic.spec import SyntheticSpec


@dataclass(frozen=True)
class Plan:
    """Proportions of a body, in metres.

    Attributes:
        name: body type.
        veri_type: typeID of VeRi-776 that comes nearest.
        length: whole length.
        width: whole width without mirrors.
        height: ground to roof.
        clearance: ground to sill.
        belt: ground to the lower edge of the side windows.
        wheel: wheel radius.
        bonnet: front end to the windscreen's foot.
        deck: rear end to the rear window's foot.
        screen_run: how far the windscreen leans back.
        rear_run: how far the rear window leans forward.
        bonnet_drop: how much lower the bonnet is at its front end.
        tumble: how much narrower the roof is than the belt, on each side.
        windows: side windows.
        axles: x of the axles as fractions of the length, from the middle.
        cargo: x of the rear end of the cab where a cargo box stands behind it; else None.
    """

    name: str
    veri_type: int
    length: float
    width: float
    height: float
    clearance: float
    belt: float
    wheel: float
    bonnet: float
    deck: float
    screen_run: float
    rear_run: float
    bonnet_drop: float
    tumble: float
    windows: int
    axles: tuple[float, ...] = (0.30, -0.29)
    cargo: float | None = None


PLANS: Final = (
    Plan("sedan", 1, 4.7, 1.80, 1.45, 0.20, 0.92, 0.33, 1.05, 0.62, 0.85, 0.75, 0.20, 0.20, 2),
    Plan("suv", 2, 4.6, 1.90, 1.76, 0.28, 1.08, 0.39, 1.00, 0.06, 0.60, 0.25, 0.14, 0.16, 3),
    Plan("van", 3, 5.0, 1.92, 2.05, 0.22, 1.15, 0.35, 0.60, 0.04, 0.80, 0.08, 0.22, 0.12, 3),
    Plan("hatchback", 4, 3.9, 1.72, 1.50, 0.20, 0.94, 0.32, 0.80, 0.06, 0.75, 0.42, 0.18, 0.18, 2),
    Plan("pickup", 6, 5.3, 1.90, 1.82, 0.30, 1.08, 0.40, 1.15, 1.75, 0.60, 0.14, 0.10, 0.16, 2),
    Plan("bus", 7, 8.6, 2.40, 3.00, 0.32, 1.35, 0.46, 0.03, 0.03, 0.14, 0.05, 0.02, 0.06, 6),
    Plan("truck", 8, 6.4, 2.20, 2.95, 0.38, 1.30, 0.46, 0.05, 0.05, 0.28, 0.05, 0.03, 0.08, 1,
         (0.345, -0.27), 1.25),
)  # fmt: skip
"""One body of each type; a model's own proportions are near one of them."""

COLOURS: Final[tuple[tuple[int, Colour], ...]] = (
    (1, (0.86, 0.72, 0.13)),
    (2, (0.85, 0.42, 0.12)),
    (3, (0.13, 0.42, 0.25)),
    (4, (0.50, 0.52, 0.54)),
    (5, (0.68, 0.11, 0.12)),
    (6, (0.14, 0.27, 0.58)),
    (7, (0.90, 0.90, 0.89)),
    (8, (0.72, 0.64, 0.45)),
    (9, (0.38, 0.25, 0.17)),
    (10, (0.11, 0.11, 0.12)),
)
"""colorID of VeRi-776 with a paint: yellow, orange, green, gray, red, blue, white, golden, brown,
black."""


@dataclass(frozen=True)
class Model:
    """What all twins have in common.

    Attributes:
        plan: proportions.
        veri_color: colorID of VeRi-776.
        paint: body colour.
        trim: colour of sills and bumpers' lower edge.
        rim: colour of the wheels' metal.
        spokes: spokes of a wheel.
        lamp_height: height of a head lamp as a fraction of the nose.
        grille_width: width of the grille as a fraction of the nose.
    """

    plan: Plan
    veri_color: int
    paint: Colour
    trim: Colour
    rim: Colour
    spokes: int
    lamp_height: float
    grille_width: float


def twin_group(spec: SyntheticSpec, vehicle: int) -> tuple[int, int, int]:
    """Split (0 train, 1 test), group within the split and place within the group of a vehicle.

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1, the training split first.

    Raises:
        ValueError: `vehicle` is outside the set.
    """
    if not 0 <= vehicle < spec.vehicles:
        raise ValueError(f"vehicle is 0..{spec.vehicles - 1}, found {vehicle}")
    # groups start anew in the test split, so that no twin of a test vehicle is trained on
    split = int(vehicle >= spec.train_vehicles)
    group, place = divmod(vehicle - split * spec.train_vehicles, spec.twins)
    return split, group, place


def draw_model(spec: SyntheticSpec, vehicle: int) -> Model:
    """The model of a vehicle: equal for all vehicles of its twin group.

    Args:
        spec: settings of the set.
        vehicle: 0 .. spec.vehicles - 1.
    """
    split, group, _ = twin_group(spec, vehicle)
    deck = np.random.default_rng([spec.seed, 11, split])
    kinds = deck.permutation(len(PLANS))
    hues = deck.permutation(len(COLOURS))
    rng = np.random.default_rng([spec.seed, 12, split, group])
    base = PLANS[kinds[group % len(PLANS)]]
    # 7 bodies and 10 paints have no common divisor: 70 groups pass before a pair comes again
    veri_color, paint = COLOURS[hues[group % len(COLOURS)]]
    shade = rng.uniform(-0.05, 0.05)
    stretch = rng.uniform(0.94, 1.06, size=5)
    plan = replace(
        base,
        length=base.length * stretch[0],
        width=base.width * (1 + (stretch[1] - 1) / 2),
        height=base.height * (1 + (stretch[2] - 1) / 2),
        bonnet=base.bonnet * stretch[3],
        deck=base.deck * stretch[4],
        screen_run=base.screen_run * rng.uniform(0.85, 1.15),
        wheel=base.wheel * rng.uniform(0.95, 1.05),
    )
    trim = rng.uniform(0.08, 0.25)
    rim = rng.uniform(0.45, 0.80)
    red, green, blue = (float(np.clip(value + shade, 0.03, 0.95)) for value in paint)
    return Model(
        plan=plan,
        veri_color=veri_color,
        paint=(red, green, blue),
        trim=(red, green, blue) if rng.random() < 0.5 else (trim, trim, trim),
        rim=(rim, rim, rim * 1.02),
        spokes=int(rng.integers(5, 8)),
        lamp_height=float(rng.uniform(0.22, 0.36)),
        grille_width=float(rng.uniform(0.40, 0.62)),
    )
