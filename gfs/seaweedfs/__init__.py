"""The engine of a SeaweedFS cluster: files as replicated chunks on many machines.

In these cases it does not do what :mod:`gfs.api` promises:

- While a volume server hangs (rather than dies), a cluster in which every volume has a copy on it
  stores no bytes until the masters drop it, after about 76 seconds.
- Of a chunk of more than 4 MiB, which another program made, wrong bytes of a corrupt replica may be
  passed on before the error.
- Two versions of an empty file look alike to the filer when they are published within a second, and
  a new name may be published twice when two processes commit at once, unless the caller makes them
  take turns (the service does).
- A filer that is frozen between its own check of a change and its own write, less than a
  millisecond apart, writes when it wakes, whatever was done meanwhile through another one.
- A process that is cut off from all masters while a filer joins with a new address does not learn
  of changes through that filer until it reaches a master again.
- Only with a filer whose store has transactions, such as PostgreSQL, is a move one step. With
  others (LevelDB, Redis) readers see a part of a folder at either end meanwhile, and one that fails
  is left half done. The filer does not say which store it has.
- Where a file replaces a folder, or a folder a file, there is nothing at the path for a moment.
- A folder of more than 20 000 entries cannot be moved.
- A folder that was made again while its old entries were still being deleted, or that replaced a
  large one, has its entries in a directory next to it (``2024\\1f2e3d4c``) for mounts, S3 and the
  filer's pages, until it is moved or removed.
- What is made in parts has no entry before it is published. ``volume.fsck`` takes its chunks for
  those of no file, and deletes them if it is told to delete what is that old.
- A version in parts that was published by a process that was killed before it recorded that, and
  then moved, is published a second time, with the same chunks, unless the caller prevents it.
- Chunks are on the disks of all replicas before a file is published; whether its entry is on a disk
  then depends on the store of the filer (PostgreSQL: yes, LevelDB: no).
"""

from gfs.seaweedfs.filesystem import SeaweedFileSystem

__all__ = ["SeaweedFileSystem"]
