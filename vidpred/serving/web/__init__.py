"""`vidpred serve`: a page on which a clip is dropped and its future seen, and the API behind it.

settings   what may be set, and the limits
door       who may come in, and the headers of every answer
intake     how much may come in at once: the bounded queue, sizes and times of uploads
api, pages what is answered
service    the way of one upload: read → predict → draw, each in batches across uploads (batcher)
shelf      the models, and the watch for a new champion
run        the server's process: start and graceful stop
"""
