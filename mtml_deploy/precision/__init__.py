"""Precision inside the graph: fp16 and int8 models made from an fp32 artifact, without torch.

In: an fp32 artifact and real images. Out: an artifact whose ONNX file holds half-precision tensors
or Q/DQ nodes, so that the very file an engine is built from also runs in ONNX Runtime.
"""
