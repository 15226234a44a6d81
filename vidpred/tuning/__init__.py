"""The search for a model and its hyperparameters: the space, one trial, the sweep."""
