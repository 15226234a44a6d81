"""The HTML report: what all stages left behind in, one page that needs nothing else out.

`inputs.py` reads, `charts.py` draws, `page.py` puts together, `template.html` and `style.css` are the page.
"""
