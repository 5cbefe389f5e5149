"""Report page: one HTML file from the records, with two trained networks that run in it.

The file asks nothing of any host: figures, sound, weights and script are inside.
"""
