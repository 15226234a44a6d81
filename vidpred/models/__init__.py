"""The model zoo: one file a model in `predict/` and `classify/`, shared parts in `blocks/`, found and built by `zoo`.

Nothing here imports more than torch, safetensors, `vidpred.types` and `vidpred.errors`: these files travel inside a
registered model to places where nothing else of vidpred is installed.
"""
