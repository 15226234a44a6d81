"""Runs and the model registry. The only folder that imports mlflow.

`store` says where they are and opens them, `runs` mirrors the work, `registry` keeps and fetches models,
`package` makes of a model a folder that runs without this project, `pyfunc_model` is the code in that folder.
"""
