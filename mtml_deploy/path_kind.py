"""What a path that a user names is, when it is not what was expected there.

In: a path. Out: words for an error: the kind, and what such a thing is for. Told by the names of
files only; nothing is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.text import printable


@dataclass(frozen=True)
class _Kind:
    """One kind of file or folder.

    Attributes:
        name: with its article.
        use: what to do with one, "{path}" for its name.
        marks: names of files of which a folder of this kind holds all, or suffixes of a file.
    """

    name: str
    use: str
    marks: tuple[str, ...]


MODEL_FOLDER: Final = "an exported model"
"""Name of the folders that mtml-export writes."""

_EXPORT: Final = "export it first: mtml-export {path} --out MODEL"
_IN_ARTIFACT: Final = "give the folder that mtml-export wrote, which holds it with its manifest"
_FOLDERS: Final = (
    _Kind("a run of mtml-train", _EXPORT, ("last.safetensors",)),
    _Kind("a run of mtml-train", _EXPORT, ("best.safetensors",)),
    _Kind(MODEL_FOLDER, "embed with it: mtml-deploy embed {path} --images SOURCE --out "
          "FILE.npz", ("model.onnx", "manifest.json")),
    _Kind("a gallery", "search in it: mtml-deploy search --gallery {path} --query QUERY",
          ("gallery.json",)),
)  # fmt: skip
_DATA_SETS: Final = {
    # of the two layouts, only this one groups its training images into tracks
    ("name_train.txt", "image_train", "train_track.txt"): "cityflow",
    ("name_train.txt", "image_train"): "veri",
    ("name_test.txt", "image_test", "query_label.xml"): "cityflow",
    ("name_test.txt", "image_test"): "veri",
    ("train_test_split", "image"): "vehicleid",
    ("train_test_split", "images"): "veriwild",
    ("bounding_box_train", "bounding_box_test"): "market1501",
}
"""Names that mark the layout of a published data set, and how a source begins that names it."""

_PARTS: Final = {"query": "query", "test": "gallery", "gallery": "gallery", "train": "train"}
"""What the name of a folder of images says -> the part that it holds."""

_FILES: Final = (
    _Kind("an embeddings file", "give it to rank, evaluate, search or gallery add", (".npz",)),
    _Kind("an ONNX model", _IN_ARTIFACT, (".onnx",)),
    _Kind("a TensorRT engine", _IN_ARTIFACT, (".engine", ".plan", ".trt")),
    _Kind("a checkpoint", _EXPORT, (".safetensors",)),
    _Kind("a file of torch weights", "train with it: mtml-train --weights {path} --data SOURCE "
          "--out RUN", (".pth", ".pt", ".ckpt", ".tar")),
    _Kind("a table", "write csv:{path}", (".csv", ".tsv")),
    _Kind("a list of images", "embed them: mtml-deploy embed MODEL --images {path} --out "
          "FILE.npz", (".txt",)),
)  # fmt: skip


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; False also where no file can have this name."""
    try:
        return path.exists()
    except (OSError, ValueError):  # a name of thousands of characters, a folder one may not enter
        return False


def what_it_is(path: Path) -> str:
    """What a path is and what it is for, as the end of an error: " (it is ...)" or "".

    Args:
        path: a file or a folder.
    """
    found = _kind(path)
    if found is None:
        return ""
    return f" (it is {found.name}: {found.use.format(path=printable(path))})"


def name_of_kind(path: Path) -> str | None:
    """What a path is, such as "a gallery"; None for a kind that is not known.

    Args:
        path: a file or a folder.
    """
    found = _kind(path)
    return None if found is None else found.name


def data_set_form(path: Path) -> str | None:
    """How to write a folder that holds a published data set: "veri:DIR"; None for another one.

    Args:
        path: the folder.
    """
    forms = (form for marks, form in _DATA_SETS.items() if _holds(path, marks))
    form = next(forms, None)
    return None if form is None else f"{form}:{printable(path)}"


def part_form(path: Path) -> str | None:
    """How to write the part of a published data set that a folder of it holds: "veri:DIR#query".

    Args:
        path: the folder of the part, such as DIR/image_query.
    """
    form = data_set_form(path.absolute().parent)
    if form is None or not path.is_dir():
        return None
    parts = (part for word, part in _PARTS.items() if word in path.name)
    part = next(parts, None)
    return form if part is None else f"{form}#{part}"


def _kind(path: Path) -> _Kind | None:
    """The kind; None for one that is not known."""
    if not is_there(path):
        return None
    if not path.is_dir():
        suffix = path.suffix.lower()
        return next((kind for kind in _FILES if suffix in kind.marks), None)
    if (form := data_set_form(path)) is not None:
        return _Kind("a data set", f"write {form}", ())
    return next((kind for kind in _FOLDERS if _holds(path, kind.marks)), None)


def _holds(folder: Path, marks: tuple[str, ...]) -> bool:
    """Whether a folder holds all of some names."""
    try:
        return all((folder / mark).exists() for mark in marks)
    except OSError:  # it may not be looked into
        return False
