"""Classifiers: one file a model, and the file's name is the model's name.

As in `predict/`: a frozen dataclass `Config` whose fields all have defaults (and may be tuples of str, too), `SEARCH`,
the values that a sweep may try, and `build(config, task) -> Classifier`. `variant` is `default`, a small network that
learns small clips on a CPU; `paper`, the source's at its published size, whose other fields are fixed; where the
lecture draws one, `toy`: a layer of 12 maps, pooling by 4, one of 24, an average. `MADE_FOR` says for what clips.
"""
