"""Tiny data sets in the published layouts, each image a single colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

REAL = Path(__file__).parents[2] / "shared" / "data"


def keypoint_line(name: str, orientation: object, folder: str = "VeRi/image_test/") -> str:
    """A line of 42 fields."""
    return f"{folder}{name} {'-1 ' * 40}{orientation}"


def write_xml(
    path: Path,
    items: Sequence[Mapping[str, str]],
    *,
    encoding: str = "gb2312",
    root: str = "TrainingImages",
) -> Path:
    """A label file with the declaration the published ones have."""
    rows = "".join(
        "<Item " + " ".join(f'{key}="{value}"' for key, value in item.items()) + " />\n"
        for item in items
    )
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<{root} Version="1.0">\n'
    text += f'<Items number="{len(items)}">\n{rows}</Items>\n</{root}>\n'
    path.write_bytes(text.encode("gb18030" if encoding == "gb2312" else "utf-8"))
    return path


def write_images(folder: Path, names: Sequence[str]) -> None:
    """One distinct image per name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        # the colour follows the name, so that equal names hold equal bytes in every folder
        colour = tuple(sum(name.encode()[part::3]) % 256 for part in range(3))
        size = (8 + sum(name.encode()) % 97, 8)
        Image.new("RGB", size, colour).save(folder / name, "JPEG")


def write_picture(path: Path, *, shade: int = 0) -> Path:
    """One image, of the format its suffix says; equal shades are equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 8), (shade % 256, 90, 160)).save(path)
    return path


def write_list(path: Path, lines: Sequence[str]) -> Path:
    """Lines with a line end each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


VERI_TRAIN = ("0001_c001_00000010_0.jpg", "0001_c002_00000020_0.jpg", "0003_c002_00000030_0.jpg")
VERI_TEST = ("0002_c003_00000040_0.jpg", "0002_c004_00000050_0.jpg", "0005_c004_00000060_0.jpg")
VERI_QUERY = (VERI_TEST[1],)


def write_veri(root: Path) -> Path:
    """Three training images, three gallery images, one query; every label file, no fault."""
    parts = {"train": VERI_TRAIN, "test": VERI_TEST, "query": VERI_QUERY}
    for part, names in parts.items():
        write_images(root / f"image_{part}", names)
        write_list(root / f"name_{part}.txt", names)
    for part in ("train", "test"):
        write_xml(
            root / f"{part}_label.xml",
            [
                {"imageName": name, "vehicleID": name[:4], "cameraID": name[5:9], "colorID": "1"}
                for name in parts[part]
            ],
        )
        write_list(
            root / f"keypoint_{part}.txt",
            [keypoint_line(name, label) for label, name in enumerate(parts[part])],
        )
    return root
