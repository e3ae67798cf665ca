"""TensorRT engines: built on the machine that runs them, from the artifact's ONNX file.

In: an artifact and build options. Out: `ART/engines/NAME.engine` with a manifest `NAME.json`. A
plan is executable code, so one without a matching manifest is never loaded.
"""
