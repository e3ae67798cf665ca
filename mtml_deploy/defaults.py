"""Defaults and closed choices that the library and the command line share, each once.

Kept apart from the code that uses them because `--help` shows them and must not import NumPy.
"""

from __future__ import annotations

from typing import Final, Literal

BATCH_SIZE: Final = 32
"""Images per run; larger batches are not faster on a CPU."""

BATCH_LIMIT: Final = 1024
"""Largest batch of an engine or a server; larger ones gain nothing and cost memory."""

DEVICE: Final = "cpu"
"""Where models run unless told otherwise; a GPU is never taken unasked."""

TOP_K: Final = 10
"""Places of a rank list."""

PAGE_QUERIES: Final = 50
"""Queries on a page of rank lists: about 2 MB of thumbnails."""

PROTOCOL: Final = "veri776"
"""Evaluation protocol; ranking uses "plain", which leaves nothing out."""

DRAWS: Final = 10
"""Random galleries of a protocol that draws them, as in published VehicleID results."""

DRAW_SEED: Final = 0
"""Of these galleries: equal seeds give equal ones."""

RERANK_K1: Final = 20
"""Neighbours that must be mutual in re-ranking; this and the next two are those of its paper."""

RERANK_K2: Final = 6
"""Nearest images whose vectors re-ranking averages."""

RERANK_LAMBDA: Final = 0.3
"""Share of the original distance after re-ranking."""

SHORTLIST: Final = 1000
"""Rows of a gallery that a query's re-ranking looks at: about 0.1 s each."""

RECALL: Final = 0.99
"""Share of the exact nearest rows that an approximate search is tuned to find."""

EXPAND_ALPHA: Final = 3.0
"""Power of the cosine in query expansion, that of its paper."""

TRACK2_QUERIES: Final = 1052
"""Query images of the AI City Challenge 2019, Track 2: lines of a track2.txt."""

TRACK2_GALLERY: Final = 18290
"""Test images of that set: the largest number in a track2.txt."""

TRACK2_LENGTH: Final = 100
"""Gallery numbers on each line of a track2.txt."""

EMBEDDINGS_SUFFIX: Final = ".npz"
"""How embeddings files are told from images and folders."""

EngineName = Literal["numpy", "faiss", "ort"]
"""What proposes the nearest images. numpy: BLAS; faiss: FAISS on the CPU; ort: ONNX Runtime on a
CPU or a CUDA GPU."""

ENGINE: Final = "numpy"
"""Engine unless told otherwise; it needs no further library."""

Pool = Literal["mean", "size"]
"""How the images of a tracklet are weighted: alike, or by their pixels before resizing."""

Grouping = Literal["tracklet", "vehicle-camera", "vehicle"]
"""What makes images one tracklet."""

ProjectionMethod = Literal["pca", "pca-whiten", "lda"]
"""How `compress` learns a projection. pca: the directions of largest variance; pca-whiten: these
with equal variance; lda: how images of one vehicle differ is made alike in all directions."""

PROJECTION: Final = "pca"
"""Method unless told otherwise: it can only lose what the left-out directions hold."""

SHRINKAGE: Final = 0.1
"""Share of the average variance in the within-vehicle scatter of lda."""

FOLDS: Final = 5
"""Parts of the training vehicles that projections are measured on in turn."""

Which = Literal["first", "best", "worst", "spread", "gain"]
"""Which queries a page of rank lists shows, by average precision but for "first"; "gain": those in
which two models differ most."""

StoredType = Literal["float32", "int8"]
"""How a gallery keeps vectors; int8 is codes to scan beside float32 vectors that decide."""

Backend = Literal["ort", "ort-tensorrt", "openvino", "tensorrt", "tensorrt-rtx"]
"""What runs a model: ONNX Runtime runs the ONNX file, by itself or through the TensorRT inside it,
and OpenVINO runs it on CPUs and Intel GPUs; the others run engines built from it. In place of one
of these a server's address is taken, see `runtime/triton_address.py`."""

BACKEND: Final = "ort"
"""Backend unless told otherwise."""

ExecutionPrecision = Literal["f32", "bf16", "f16", "auto"]
"""What OpenVINO computes float32 values of a model in; auto is the fastest that the device has."""

Rounding = Literal["", "bf16", "f16"]
"""What a backend rounded float32 values to; empty where it computed what the file says."""

EXECUTION_PRECISION: Final = "f32"
"""What the file says, unless told otherwise."""

STREAMS: Final = 1
"""Batches at work at once on OpenVINO, requests on a server."""

InputLayout = Literal["nhwc-uint8", "nchw-float"]
"""Of a graph's images: bytes [B, H, W, 3], or float32 planes [B, 3, H, W]."""

InputValues = Literal["levels", "imagenet"]
"""0 to 255, or (level - mean) / standard deviation of ImageNet."""

ChannelOrder = Literal["RGB", "BGR"]
"""Which channel comes first."""

OPSETS: Final = (17, 20)
"""The oldest operator set that a graph is written in, and the one that exports have."""

IR_VERSIONS: Final = (8, 10)
"""Likewise of the format of ONNX files."""
