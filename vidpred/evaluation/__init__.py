"""How good a model is: beside `copy_last` and `flow_gate`, on the same windows, with an interval."""
