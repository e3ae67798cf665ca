"""Labels outside their range: the text names the value and the image, not a Python object."""

from pathlib import Path

import pytest

from mtml_deploy.data.records import ImageRecord


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"vehicle_id": -2}, "ids are -1 (unknown) or more, found -2 for a/x.jpg"),
        ({"camera_id": -7}, "ids are -1 (unknown) or more, found -7 for a/x.jpg"),
        ({"orientation": 8}, "orientation is -1..7, found 8 for a/x.jpg"),
    ],
)
def test_a_label_outside_its_range_is_named(labels: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # the whole text is compared
        ImageRecord(Path("a/x.jpg"), **labels)
    assert str(caught.value) == message
