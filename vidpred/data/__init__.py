"""From a URL or a file to a batch.

1. fetch.py      a folder, a list of URLs or a recipe (digits.py) → files under names of our own
2. transcode.py  files → frames of one size and rate, by ffmpeg (media.py), several at once
3. shards.py     frames on disk: write, read, verify
4. split.py      which clips train, which choose, which judge
5. flow.py       optical flow, for models that need it
6. clips.py      windows and batches for torch
"""
