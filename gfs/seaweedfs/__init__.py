"""The engine of a SeaweedFS cluster: files as replicated chunks on many machines.

It is young. What it does not do yet, or not as well as it should:

- A volume server that hangs (rather than dies) can fail uploads until the master drops it, which
  takes about 76 seconds: every writable volume may have it.
- A directory is removed file by file, not at once; and one that is removed exactly during a commit
  can come back with that one file, unless the caller excludes the two (the service does).
- Of a chunk that somebody else made larger than 4 MiB, wrong bytes of a corrupt replica can be
  passed on before the error.
- Two versions of an empty file look alike to the filer when two processes commit at once.
- "Durable" means on every replica, not on their disks.
"""
