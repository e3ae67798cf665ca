"""The exported model folder: `model.onnx` beside `manifest.json`."""
