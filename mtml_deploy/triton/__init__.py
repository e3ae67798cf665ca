"""A model repository of NVIDIA's Triton Inference Server: what a server is started with."""
