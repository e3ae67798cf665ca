"""The configuration of a model on a Triton server: `config.pbtxt`, protobuf's text format.

In: what the model is and how it is to be run. Out: the text. Its parameters say which model file
the folder was made from, which a client compares with its own (see `runtime/triton.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from mtml_deploy.artifact.manifest import (
    EMBEDDINGS_OUTPUT,
    INPUT_NAME,
    ORIENTATION_OUTPUT,
    Manifest,
)
from mtml_deploy.data.records import ORIENTATIONS
from mtml_deploy.triton.options import ServingOptions

MARK: Final = "# Model of mtml-deploy triton"
"""First line of a configuration, by which such a folder is known."""

MODEL_KEY: Final = "mtml_model_sha256"
"""Parameter: hash of the ONNX file of the artifact."""

ENGINE_KEY: Final = "mtml_engine_sha256"
"""Parameter: hash of the plan that runs; only there for a plan."""

VERSION_KEY: Final = "mtml_version"
"""Parameter: the version of the model on the server that the two hashes are of."""


def config_text(manifest: Manifest, options: ServingOptions, *, engine_sha256: str = "") -> str:
    """The configuration of one model.

    Args:
        manifest: what the model is.
        options: how it is to be run.
        engine_sha256: hash of the plan; empty where the ONNX file itself runs.

    Returns:
        The text of `config.pbtxt`, ending in a newline.
    """
    return "\n".join(_lines(manifest, options, engine_sha256)) + "\n"


def _lines(manifest: Manifest, options: ServingOptions, engine_sha256: str) -> Iterator[str]:
    """Each field of the configuration."""
    size = f"{manifest.height}, {manifest.width}, 3"
    yield f"{MARK}, version {options.version} of it is {manifest.model_sha256[:12]}"
    yield f"name: {_text(options.name)}"
    if engine_sha256:
        yield 'backend: "tensorrt"'
        yield 'platform: "tensorrt_plan"'
    else:
        yield 'backend: "onnxruntime"'
    yield f"max_batch_size: {options.max_batch}"
    yield f"input [{{ name: {_text(INPUT_NAME)} data_type: TYPE_UINT8 dims: [{size}] }}]"
    outputs = [(EMBEDDINGS_OUTPUT, manifest.dim)]
    if manifest.with_orientation:
        outputs.append((ORIENTATION_OUTPUT, len(ORIENTATIONS)))
    for name, width in outputs:
        yield f"output [{{ name: {_text(name)} data_type: TYPE_FP32 dims: [{width}] }}]"
    yield f"version_policy: {{ {_policy(options)} }}"
    gpus = f" gpus: [{', '.join(map(str, options.gpus))}]" if options.gpus else ""
    group = f"count: {options.instances} kind: KIND_{options.kind.upper()}{gpus}"
    yield f"instance_group [{{ {group} }}]"
    yield from _batching(options)
    if options.warm_up:
        for batch in sorted({1, options.max_batch}):
            yield (
                f"model_warmup [{{ name: {_text(f'batch {batch}')} batch_size: {batch} inputs {{ "
                f"key: {_text(INPUT_NAME)} value {{ data_type: TYPE_UINT8 dims: [{size}] "
                "zero_data: true } } }]"
            )
    parameters = {MODEL_KEY: manifest.model_sha256, VERSION_KEY: str(options.version)}
    if engine_sha256:
        parameters[ENGINE_KEY] = engine_sha256
    for key, value in parameters.items():
        yield f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"


def _batching(options: ServingOptions) -> Iterator[str]:
    """Which requests run together, and how long and how many may wait."""
    preferred = ", ".join(map(str, sorted(set(options.preferred_batches))))
    yield "dynamic_batching {"
    if preferred:
        yield f"  preferred_batch_size: [{preferred}]"
    yield f"  max_queue_delay_microseconds: {options.queue_delay_us}"
    yield "  default_queue_policy {"
    yield "    timeout_action: REJECT"
    yield f"    default_timeout_microseconds: {options.queue_timeout_ms * 1000}"
    yield "    allow_timeout_override: true"
    yield f"    max_queue_size: {options.queue_size}"
    yield "  }"
    yield "}"


def _policy(options: ServingOptions) -> str:
    """Which versions are served."""
    kind, _, number = options.version_policy.partition(":")
    if kind == "all":
        return "all { }"
    if kind == "latest":
        return f"latest {{ num_versions: {number} }}"
    return f"specific {{ versions: [{', '.join(map(str, options.served))}] }}"


def _text(value: str) -> str:
    """A string of the text format; names and hashes are ASCII, which JSON writes alike."""
    return json.dumps(value)
