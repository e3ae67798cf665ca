"""A model's folder in a Triton model repository: written whole, known again by its content.

In: an artifact. Out: `REPO/NAME/config.pbtxt` and `REPO/NAME/VERSION/model.onnx`, or `model.plan`
where an engine of the artifact is to run. Other models of the repository are not touched.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.artifact import MODEL_FILE, Artifact, file_sha256
from mtml_deploy.artifact.plain_input import require_plain
from mtml_deploy.engine.folder import FOLDER as ENGINES
from mtml_deploy.engine.folder import Engine, list_engines
from mtml_deploy.errors import ArtifactError
from mtml_deploy.output_kind import FolderKind, left_behind
from mtml_deploy.outputs import output_folder, require_apart
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.triton.config import MARK, VERSION_KEY, config_text
from mtml_deploy.triton.options import ServingOptions

CONFIG_FILE: Final = "config.pbtxt"
PLAN_FILE: Final = "model.plan"

_VERSION: Final = re.compile(rf'key: "{VERSION_KEY}" value \{{ string_value: "(\d+)"')


def write_repository(
    artifact: Artifact,
    repository: Path,
    options: ServingOptions,
    *,
    engine: Engine | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a model's folder for a Triton server, whole or not at all.

    Args:
        artifact: the exported model.
        repository: the model repository; made where it is not there.
        options: how the server is to run the model.
        engine: of the artifact; what runs in place of the ONNX file.
        overwrite: replace an earlier folder of this command.
        say: told what a user must know of the result.

    Returns:
        The model's folder.

    Raises:
        ArtifactError: the engine does not run on a server, or not with these options.
        OutputExistsError: the folder is there already, or is no output of this command, or lies in
            the artifact.
        WriteError: the machine refuses.
    """
    if engine is not None:
        _require_servable(engine, options)
    folder = repository / options.name
    require_plain(artifact.manifest, "the client of a Triton server")
    require_apart(folder, artifact.folder)
    sha256 = "" if engine is None else engine.manifest.plan_sha256
    with output_folder(
        folder, REPOSITORY_MODEL, overwrite=overwrite, inputs=[artifact.folder], say=say
    ) as made:
        place = made / str(options.version)
        place.mkdir()
        if engine is None:
            _copy(artifact.model_path, place / MODEL_FILE, artifact.manifest.model_sha256)
        else:
            _copy(engine.path, place / PLAN_FILE, sha256)
        text = config_text(artifact.manifest, options, engine_sha256=sha256)
        (made / CONFIG_FILE).write_text(text, encoding="utf-8")
    if engine is not None:
        say(
            f"note: the plan runs only where the server has TensorRT "
            f"{engine.manifest.target_version} and such a GPU: {engine.manifest.in_words()}"
        )
    return folder


def servable_engine(artifact: Artifact, name: str | None = None) -> Engine:
    """The engine of an artifact that a server is to run.

    Args:
        artifact: the exported model.
        name: file name of the engine; None where the artifact has one of TensorRT only.

    Returns:
        The engine.

    Raises:
        ArtifactError: there is none, several and none is named, or the file is not the one that its
            sidecar names.
    """
    found = [one for one in list_engines(artifact) if one.manifest.target == "tensorrt"]
    fresh = [one for one in found if one.manifest.model_sha256 == artifact.manifest.model_sha256]
    chosen = [one for one in fresh if name in (None, one.path.name)]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(one.path.name for one in fresh) or "none"
    if chosen:
        raise ArtifactError(
            f"{artifact.folder / ENGINES} has {len(chosen)} engines of TensorRT for this model: "
            f"{there}; name one with --plan-file"
        )
    wanted = "an engine" if name is None else f"the engine {name}"
    raise ArtifactError(
        f"{artifact.folder / ENGINES} lacks {wanted} of TensorRT for this model, there is {there}; "
        f"build one on the server's machine: mtml-deploy build {artifact.folder} --target tensorrt"
    )


def _require_servable(engine: Engine, options: ServingOptions) -> None:
    """Refuse options that an engine cannot be served with."""
    profile = engine.manifest.profile
    fix = f"mtml-deploy build {engine.path.parent.parent} --target tensorrt"
    if profile.min > 1:
        raise ArtifactError(
            f"{engine.path} takes {profile.min} images and more, and a server runs single ones; "
            f"build it again: {fix} --min-batch 1 --overwrite"
        )
    if options.max_batch > profile.max:
        raise ArtifactError(
            f"{engine.path} takes batches of up to {profile.max} images and --max-batch is "
            f"{options.max_batch}; give --max-batch {profile.max}, or build it again: {fix} "
            f"--max-batch {options.max_batch} --overwrite"
        )
    if options.kind == "cpu":
        raise ArtifactError(f"{engine.path} is for a GPU and --kind is cpu; leave --kind out")


def _copy(source: Path, target: Path, sha256: str) -> None:
    """A copy that has the hash expected of it."""
    shutil.copyfile(source, target)
    if file_sha256(target) != sha256:
        raise ArtifactError(
            f"{source} was changed while it was copied, expected sha256 {sha256[:12]}...; run the "
            "command again"
        )


def _config(folder: Path) -> str:
    """The text of a folder's configuration, if this command wrote it."""
    try:
        content = read_regular(folder / CONFIG_FILE, most_bytes=RECORD_BYTES)
    except FileNotFoundError:
        raise ValueError(f"it lacks {CONFIG_FILE}") from None
    text = content.decode("utf-8")
    if not text.startswith(MARK) or not _VERSION.search(text):
        raise ValueError(f"its {CONFIG_FILE} is not of mtml-deploy triton")
    return text


def _foreign(folder: Path) -> list[str]:
    """What did not come with the folder: a version that somebody has added is not to be lost."""
    found = _VERSION.search(_config(folder))
    version = found[1] if found else ""
    own = {CONFIG_FILE, version, f"{version}/{MODEL_FILE}", f"{version}/{PLAN_FILE}"}
    below = sorted(folder.rglob("*"))
    return [
        path.relative_to(folder).as_posix()
        for path in below
        if path.is_symlink()
        or not (path.relative_to(folder).as_posix() in own or left_behind(path))
    ]


REPOSITORY_MODEL: Final = FolderKind("a model of mtml-deploy triton", _config, _foreign)
