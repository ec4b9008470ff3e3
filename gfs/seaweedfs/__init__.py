"""The engine of a SeaweedFS cluster: files as replicated chunks on many machines.

Where its promises end:

- While a volume server hangs (rather than dies), a cluster in which every volume has a copy on it
  takes no bytes until the masters drop it, after about 76 seconds.
- Of a chunk that somebody else made larger than 4 MiB, wrong bytes of a corrupt replica can be
  passed on before the error.
- Two versions of an empty file look alike to the filer when two processes commit at once, unless
  the caller lets them take turns (the service does).
- Chunks are on the disks of all replicas before a file is published; whether its entry is on a disk
  then is a matter of the filer's store (PostgreSQL's is, that of LevelDB is not).
"""
