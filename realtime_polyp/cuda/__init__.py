"""The line on a GPU: a batch's way from pinned memory over streams and graphs to one small download.

Read `inference`, then `lanes` (streams and their order), `ring` (buffers), `model` (graphs), `prepare` (pixels).
"""
