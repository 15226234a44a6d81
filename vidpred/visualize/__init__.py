"""What a classifier looks for: clips found by gradient ascent, saliency on a given clip, and its first kernels.

ascent.py      for each class a clip, and a flow field, that the model scores highest
canvas.py      what they are drawn on
saliency.py    which pixels of a clip, at which moments, speak for a class
kernels.py     what the first layers respond to, as small moving pictures
streams.py     a model as something to differentiate
drawing.py     all of these as frames
gallery.py     as files in a folder, with a page
subject.py     what is looked into: a model, and windows of clips
opening.py     how they are opened, by what a user names
for_report.py  the few that a report shows
"""
