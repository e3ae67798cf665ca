"""Rendered vehicles with identity, camera and orientation, written in the layout of VeRi-776.

In: a `SyntheticSpec`. Out: a folder of JPEG files with every label file, the same bytes for the
same settings. Vehicles come in twins of one model and colour that differ only by small marks.
"""

from mtml_train.synthetic.render import render_image
from mtml_train.synthetic.spec import SyntheticSpec, SyntheticSummary
from mtml_train.synthetic.write import write_synthetic

__all__ = ["SyntheticSpec", "SyntheticSummary", "render_image", "write_synthetic"]
