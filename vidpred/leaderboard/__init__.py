"""The leaderboard: every model of the zoo under one budget, judged on one frozen list of test windows, on one page.

`plan.py` says what is asked for, `bench.py` opens the data and freezes the list, `runs.py` trains and `scores.py`
judges one model, `crew.py` lets processes do that side by side, `contest.py` decides what comes next, `table.py` makes
rows with gains of it, `write.py`, `pictures.py` and `page.py` show them, `board.py` puts all together, `submit.py` adds
a model of somebody's own.

All that is done is kept in `VIDPRED_HOME/leaderboard` under a key over what it depends on, and not done again.
"""
