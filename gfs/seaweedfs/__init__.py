"""The engine of a SeaweedFS cluster: files as replicated chunks on many machines.

Where its promises end:

- While a volume server hangs (rather than dies), a cluster in which every volume has a copy on it
  takes no bytes until the masters drop it, after about 76 seconds.
- Of a chunk that somebody else made larger than 4 MiB, wrong bytes of a corrupt replica can be
  passed on before the error.
- Two versions of an empty file look alike to the filer when two processes commit at once, unless
  the caller lets them take turns (the service does).
- "Durable" means on every replica, not on their disks.
"""
