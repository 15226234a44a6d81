"""Predictors: one file a model, and the file's name is the model's name.

Each file has a frozen dataclass `Config` whose fields all have defaults and are bool, int, float, str or a Literal, and
`build(config, task) -> Predictor`; one with something to train also `SEARCH`, the values that a sweep may try.
`vidpred.models.zoo` finds it by being there.
"""
