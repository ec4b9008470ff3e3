"""The engine of a SeaweedFS cluster: files as replicated chunks on many machines.

Where its promises end:

- While a volume server hangs (rather than dies), a cluster in which every volume has a copy on it
  takes no bytes until the masters drop it, after about 76 seconds.
- Of a chunk that somebody else made larger than 4 MiB, wrong bytes of a corrupt replica can be
  passed on before the error.
- Two versions of an empty file look alike to the filer when they are published within a second, and
  a new name can be published twice, when two processes commit at once, unless the caller lets them
  take turns (the service does).
- A filer that is frozen between its own check of a change and its own write, less than a
  millisecond apart, writes when it wakes, whatever was done meanwhile through another one.
- A process that is cut off from all masters while a filer joins with a new address does not hear of
  what others change through that one, until it has a master again.
- Chunks are on the disks of all replicas before a file is published; whether its entry is on a disk
  then is a matter of the filer's store (PostgreSQL's is, that of LevelDB is not).
"""

from gfs.seaweedfs.filesystem import SeaweedFileSystem

__all__ = ["SeaweedFileSystem"]
