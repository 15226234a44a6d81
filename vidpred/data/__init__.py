"""From a URL or a file to a batch.

1. fetch.py       a folder, archive, list of URLs, dataset or recipe → files under names of our own
                  lists, catalog, recipes: what to fetch; download (transfer/): URLs; archives, bundles, sequences:
                  what comes many in one file; intake: copies and their rows
2. transcode.py   files → frames of one size and rate, and what is set aside
                  graphs, launch, media, complaints: running ffmpeg; scenes: cuts, freezes, sampling by time;
                  clip_cache: each source once; card: the page about it all
3. shards.py      frames on disk: write, read, verify
4. split.py       which clips train, which choose, which judge
                  duplicates: near-duplicates are joined first; leakage: checks what is left
5. flow_store.py  optical flow (flow.py) of all frames, for models that need it
6. clips.py       windows and batches for torch
"""
