"""Models for other runtimes: ONNX and torch.export, each held against the original before it is written."""
