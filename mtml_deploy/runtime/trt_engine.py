"""A TensorRT plan in memory: deserialised, compared with its manifest, ready to be run.

In: the bytes of a plan and what its tensors must be. Out: execution contexts for fixed batch sizes.
The calls are those that TensorRT 10.3 to 11 and TensorRT-RTX have in common.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtml_deploy.artifact.manifest import (
    INPUT_NAME,
    Manifest,
)
from mtml_deploy.engine.library import Library, make
from mtml_deploy.engine.library_log import LibraryLog, last_errors
from mtml_deploy.engine.options import BatchProfile
from mtml_deploy.errors import ArtifactError, BackendError
from mtml_deploy.runtime.runtime import output_widths


@dataclass(frozen=True)
class TensorKind:
    """What one input or output of an engine is.

    Attributes:
        dtype: TensorRT's name of its type.
        sizes: after the batch.
    """

    dtype: str
    sizes: tuple[int, ...]


def input_kind(manifest: Manifest) -> TensorKind:
    """What the input of a model's engine is."""
    return TensorKind("UINT8", (manifest.height, manifest.width, 3))


def output_kinds(manifest: Manifest) -> dict[str, TensorKind]:
    """What each output of a model's engine is."""
    return {name: TensorKind("FLOAT", (width,)) for name, width in output_widths(manifest).items()}


class LoadedEngine:
    """An engine on the current GPU; every call needs the context it was loaded in."""

    def __init__(
        self,
        plan: bytes,
        library: Library,
        manifest: Manifest,
        profile: BatchProfile,
        *,
        name: str,
    ) -> None:
        """Deserialise a plan; code inside it stays forbidden.

        Args:
            plan: bytes whose hash was checked.
            library: what built it.
            manifest: what the engine must be.
            profile: batches that it was built for.
            name: of the file, for errors.

        Raises:
            BackendError: the library refuses it.
            ArtifactError: its inputs and outputs are not those of the manifest.
        """
        self._library = library
        self._log = library.logger()
        self._log.errors.clear()  # those of an earlier engine
        # must live as long as the engine
        self._runtime: Any = None
        self._engine: Any = None
        self._config: Any = None
        self._cache: Any = None
        try:
            self._runtime = make(library, "Runtime", self._log)
            self._runtime.engine_host_code_allowed = False
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:  # it does not raise
                raise BackendError(
                    f"{library.target} {library.version} cannot load {name}: {self._reasons()}; "
                    "build it again: mtml-deploy build MODEL"
                )
            self._require({INPUT_NAME: input_kind(manifest)}, output_kinds(manifest), name)
            # an engine of an earlier version has one profile for all
            parts = profile.parts()
            self._parts = parts if self._engine.num_optimization_profiles == len(parts) else ()
            self._config = self._runtime_config()
        except BaseException:
            self.close()  # now, while its GPU is current
            raise

    @property
    def captures_itself(self) -> bool:
        """Whether the library makes CUDA graphs of its own."""
        return self._library.is_rtx

    def context(self, batch: int, *, addresses: Mapping[str, int], stream: int) -> ExecutionContext:
        """A context for one batch size.

        A captured CUDA graph is only valid as long as nothing of its context changes, so that each
        batch size has a context of its own; those that never run at once share the scratch memory.

        Args:
            batch: images, within the profile.
            addresses: tensor -> device memory, large enough for `batch`.
            stream: handle of the stream that it will run in; wait for it before the first run.

        Returns:
            The context, with everything set but the scratch memory.

        Raises:
            BackendError: no room on the GPU, or a batch outside the profile.
        """
        if self._config is None:
            strategy = self._library.module.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._engine.create_execution_context(self._config)
        if context is None:
            raise BackendError(
                f"the GPU has no room for a context of the engine: {self._reasons()}; free memory, "
                "or build it for smaller batches: mtml-deploy build MODEL --opt-batch N "
                "--overwrite"
            )
        part = next((i for i, one in enumerate(self._parts) if one.min <= batch <= one.max), 0)
        if part and not context.set_optimization_profile_async(part, stream):
            raise BackendError(f"the engine refuses its profile {part}: {self._reasons()}")
        shape = (batch, *tuple(self._engine.get_tensor_shape(INPUT_NAME))[1:])
        if not context.set_input_shape(INPUT_NAME, shape):
            raise BackendError(f"the engine refuses a batch of {batch}: {self._reasons()}")
        for name, address in addresses.items():
            if not context.set_tensor_address(name, address):
                raise BackendError(f"the engine refuses memory for {name}: {self._reasons()}")
        # of these shapes: the engine's own number is that of the largest batch it accepts
        return ExecutionContext(context, self._log, context.update_device_memory_size_for_shapes())

    def load_cache(self, content: bytes) -> bool:
        """Take over what an earlier process compiled; TensorRT-RTX only.

        Args:
            content: what `saved_cache` gave; the library refuses that of another GPU or version.

        Returns:
            Whether it was taken.
        """
        return self._cache is not None and bool(self._cache.deserialize(content))

    def saved_cache(self) -> bytes:
        """What was compiled for the batch sizes that ran; empty where the library keeps nothing."""
        return b"" if self._cache is None else bytes(self._cache.serialize())

    def close(self) -> None:
        """Free the engine; its contexts must be closed before."""
        self._config = None
        self._cache = None
        self._engine = None
        self._runtime = None

    def _runtime_config(self) -> Any:  # noqa: ANN401
        """How contexts are made; None for TensorRT before 10.12, which has no such object."""
        if not hasattr(self._engine, "create_runtime_config"):
            return None
        trt: Any = self._library.module
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if self._library.is_rtx:
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            # the default compiles kernels for a shape in the background and changes to them when
            # they are ready: equal images would then have unequal embeddings
            config.dynamic_shapes_kernel_specialization_strategy = (
                trt.DynamicShapesKernelSpecializationStrategy.EAGER
            )
            # contexts of this engine share what was compiled for one of them; it outlives them
            self._cache = config.create_runtime_cache()
            config.set_runtime_cache(self._cache)
        return config

    def _require(
        self, inputs: Mapping[str, TensorKind], outputs: Mapping[str, TensorKind], name: str
    ) -> None:
        """Refuse other tensors: buffers are sized by the manifest, the engine writes into them."""
        trt: Any = self._library.module
        modes = {trt.TensorIOMode.INPUT: inputs, trt.TensorIOMode.OUTPUT: outputs}
        found = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        fits = set(found) == {*inputs, *outputs} and all(
            tensor in modes[self._engine.get_tensor_mode(tensor)] for tensor in found
        )
        for tensor, kind in {**inputs, **outputs}.items():
            fits = fits and (
                self._engine.get_tensor_dtype(tensor) == getattr(trt.DataType, kind.dtype)
                and tuple(self._engine.get_tensor_shape(tensor))[1:] == kind.sizes
            )
        if not fits:
            raise ArtifactError(
                f"the inputs and outputs of {name} ({', '.join(found)}) are not those of its "
                "manifest; build it again: mtml-deploy build MODEL"
            )

    def _reasons(self) -> str:
        """The library's last errors."""
        return last_errors(self._log, 2) or "no reason given"


class ExecutionContext:
    """One engine at one batch size, with its memory.

    Attributes:
        scratch_bytes: device memory that a run needs beside inputs and outputs.
    """

    def __init__(
        self,
        context: Any,  # noqa: ANN401 - untyped library
        log: LibraryLog,
        scratch_bytes: int,
    ) -> None:
        """From `LoadedEngine.context`."""
        self._context = context
        self._log = log
        self.scratch_bytes = int(scratch_bytes)

    def use(self, scratch: int) -> None:
        """Give it its scratch memory, of `scratch_bytes` or more, before the first run."""
        self._context.set_device_memory(scratch, self.scratch_bytes)

    def enqueue(self, stream: int) -> None:
        """Queue the computation.

        Args:
            stream: handle of a CUDA stream.

        Raises:
            BackendError: the library refuses.
        """
        if not self._context.execute_async_v3(stream):
            told = last_errors(self._log, 2) or "no reason given"
            raise BackendError(f"the engine could not be started: {told}")

    def close(self) -> None:
        """Free it."""
        self._context = None
