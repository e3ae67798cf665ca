"""The files of training for fuzz tests: checkpoints, sealed and with checksums made right again."""

from __future__ import annotations

import json
import random
from pathlib import Path

import safetensors.torch
import torch
from fuzz_kinds import Kind
from fuzz_mutations import damaged_json
from helpers_training import small_config
from torch import nn

from mtml_deploy.errors import CheckpointError
from mtml_train.checkpoint import LAST, load_checkpoint, load_optimizer, save_checkpoint
from mtml_train.curves_plot import panels
from mtml_train.data.fingerprint import SetFingerprint
from mtml_train.history import HISTORY, HistoryWriter, Point, read_history
from mtml_train.run_card import Progress, RunCard
from mtml_train.weights_file import read_weights_file

CARD = RunCard(
    config=small_config("somewhere"),
    recipe="paper",
    identities=((0, 5), (0, "AB 12")),
    sets=(SetFingerprint("veri:somewhere", 70, 70, "a" * 64, "b" * 64),),
)


def _saved(folder: Path) -> Path:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    progress = Progress(step=1, images=8, best=0.25, validation={"mAP": 0.25})
    save_checkpoint(folder / LAST, CARD, progress, model, optimizer=optimizer)
    return folder / LAST


def _resumed(path: Path) -> object:
    """Everything that a resumed run goes on from, checked as no step would."""
    found = load_checkpoint(path, resume=True)
    model = nn.Linear(3, 2)
    try:
        model.load_state_dict(found.weights())
    except RuntimeError as error:  # of an MTML, `load_weights` says so
        raise CheckpointError("other weights") from error
    optimizer = torch.optim.Adam(model.parameters())
    load_optimizer(found, optimizer)
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()["state"]
    for slots in state.values():
        assert all(tensor.isfinite().all() for tensor in slots.values())
    for number in (found.progress.step, found.progress.images):
        assert 0 <= number < 2**63
    tensors = {name: tensor.tolist() for name, tensor in found.tensors.items()}
    return found.card, found.progress, tensors, found.scaler


def checkpoint(folder: Path) -> Kind:
    """A checkpoint as it is, and all that a run resumes from."""
    path = _saved(folder)
    return Kind("checkpoint", (path,), lambda: _resumed(path), sealed=True)


def forged_checkpoint(folder: Path) -> Kind:
    """A checkpoint whose checksums are right whatever it holds."""
    path = _saved(folder)

    def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = safetensors.torch.load(content)
        if draw.random() < 0.6:
            what, text = damaged_json(metadata["mtml"].encode(), draw)
            header = text.decode("utf-8", "replace")
        else:
            header = metadata["mtml"]
            what, name = _damage_tensor(tensors, draw)
            what = f"{name} {what}"
        from mtml_train.checkpoint import _checksums

        metadata |= {"mtml": header, **_checksums(header, tensors)}
        return what, safetensors.torch.save(tensors, metadata=metadata)

    return Kind("forged checkpoint", (path,), lambda: _resumed(path), (damaged,) * 9)


def _damage_tensor(tensors: dict[str, torch.Tensor], draw: random.Random) -> tuple[str, str]:
    """Change one tensor of a file that training goes on from."""
    name = draw.choice([name for name in sorted(tensors) if not name.startswith("model.")])
    what = draw.choice(("drop", "nan", "infinite", "below", "shape", "type", "rename", "huge"))
    tensor = tensors.pop(name)
    if what in ("nan", "infinite"):
        tensor = torch.full(tensor.shape, float("nan" if what == "nan" else "inf"))
    elif what == "below":
        tensor = torch.full(tensor.shape, -1.0)
    elif what == "shape":
        tensor = torch.cat([tensor.reshape(-1)] * 2)
    elif what == "type":
        tensor = tensor.to(draw.choice((torch.int8, torch.float16, torch.bool)))
    elif what == "huge":
        tensor = torch.full(tensor.shape, 3e38)
    if what != "drop":
        tensors["optimizer.x.y" if what == "rename" else name] = tensor
    return what, name


def weights(folder: Path) -> Kind:
    """Weights of other programs."""
    state = nn.Linear(3, 2).state_dict()
    torch.save(state, folder / "w.pth")
    safetensors.torch.save_file(state, folder / "w.safetensors")
    files = (folder / "w.pth", folder / "w.safetensors")

    def read() -> object:
        for path in files:
            read_weights_file(path)
        return None

    return Kind("weights", files, read)


def curves(folder: Path) -> Kind:
    """What a run kept of its losses."""
    writer = HistoryWriter(folder / HISTORY, after=0)
    for step in range(1, 4):
        writer.add(Point(step, "loss", {"total": 1.5 * step, "gray/id": 0.5}))
    writer.add(Point(3, "validation", {"mAP": 0.25}))
    writer.close()
    path = folder / HISTORY

    def damaged(content: bytes, draw: random.Random) -> tuple[str, bytes]:
        lines = content.splitlines()
        number = draw.randrange(len(lines))
        what, lines[number] = damaged_json(lines[number], draw)
        return f"line {number}: {what}", b"\n".join(lines) + b"\n"

    return Kind("curves", (path,), lambda: panels({"run": read_history(path)}), (damaged,))


TRAINING_KINDS = (checkpoint, forged_checkpoint, weights, curves)
"""Each makes its files in an empty folder."""
