"""Measurements of the service, side by side with a peer in the same run: ``python -m bench``.

A figure by itself says as much about the machine as about the program, so the table gives ratios;
runs of the service and of its peer alternate, and the median counts. Nothing here is a test:
nothing fails because it was slow.
"""
