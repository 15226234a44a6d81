"""How one URL becomes one file; `vidpred.data.download` does it for many.

1. items.py      what is asked for, what comes of it, and the codes of what may go wrong
2. notes.py      a JSON file a URL: what a run leaves for the next
3. queue.py      many at once, so many a host, later again
4. part.py       a file that grows: counted, hashed, limited
5. addresses.py  which addresses may be connected to
6. web.py        one request by http or https
7. objects.py    one object of S3 and the like, through fsspec
8. sites.py      one video of a site that has pages for videos, through yt-dlp (site_program.py)

threads.py is for what blocks: name servers, fsspec's drivers, long files to hash.
"""
