"""The files and folders of the embedded engine: every blocking call on them.

A file is one plain file, published whole, at its path in its directory under the root
(:mod:`gfs.embedded.root`), and a folder is a directory. A link is neither
(:mod:`gfs.embedded.folders`).

Whatever changes names does so while it holds one lock: it looks at what is there, and then makes
its folders and its one rename(2), link(2) or unlink(2), all relative to folders that it has open.
So what was looked at is still true when it is changed, whatever else is moved or removed. The
fsyncs come afterwards, so that several changes share one commit of the journal. While folders that
another change has made or moved are not durable yet, a change makes all folders on its way durable.

A move is one rename(2) too, however many files are below, except where a folder is replaced, or
replaces something: there is no call for that which every file system has, and exchanging the two
(RENAME_EXCHANGE) would show for a moment what was replaced at the path that was moved. So what is
there goes to ``~trash`` first, and then the move is made. Between these two renames nobody may
look: readers pass a gate (:mod:`gfs.embedded.gate`), which every move closes. Other programs may
see neither. A kill or a power cut between the two is repaired by the next start: ``~moving``,
which is durable before the first and removed after the second, says by the inode what was to be
moved, and where. If it is still at its old path and nothing at the new one, it is moved now.

An upload into a folder keeps the innermost folder on its way open, so that its inode number is
given to no other one meanwhile: at the publish the same folder has to be at the same path.

What is made in parts is published like that too, but its file in ``~uploads`` keeps its name there:
what gets the path is a second link to it. So a publish that was interrupted, or whose result was
never recorded, can be made again: if the file at the path is the one in ``~uploads``, by the inode,
it is published. A file that has a second name is never written to.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from gfs import clock
from gfs.embedded.folders import Way, has_space_below, open_folder, open_within
from gfs.embedded.gate import Gate
from gfs.embedded.infos import READ_FLAGS, Infos, folder_info, set_created
from gfs.embedded.oserrors import not_a_directory, open_directory, open_error, translated
from gfs.embedded.root import Root
from gfs.embedded.trash import scratch_name
from gfs.errors import (
    AlreadyExists,
    InvalidName,
    IsFolder,
    MovesIntoItself,
    NoSuchDirectory,
    NoSuchFile,
    NoSuchFolder,
    NoSuchUpload,
    NotAFolder,
    StoreBroken,
    StoreUnavailable,
)
from gfs.linux import rename_exclusive
from gfs.paths import MAX_PATH_BYTES, MAX_SEGMENTS, within
from gfs.types import ANYTHING, Entry, Expect, FileInfo, FolderInfo, Moved, Published


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is being made, to be published at ``path`` in ``directory``.

    ``descriptor``: the temporary file, whose path is ``temporary``, relative to the root.
    ``folder``: the innermost folder above ``path`` that was there when it was started, which is
    open as ``within``; "" and -1 if only the directory itself was. ``kept``: whether ``temporary``
    stays, published or not, because it was made in parts.
    """

    directory: str
    path: str
    expect: Expect
    descriptor: int
    temporary: str
    folder: str
    within: int
    kept: bool = False


class Tree(Root):
    """The files and folders under the root. Every method but ``info`` may wait for the disk: call
    it in a thread."""

    def __init__(self, root: str, reserve: int = 0) -> None:
        """Open ``root`` as :class:`Root` does, and finish a move that was interrupted. Raises
        StoreUnavailable or StoreBroken."""
        self._names_lock = threading.Lock()
        self._time_lock = threading.Lock()
        self.gate = Gate()
        self._infos = Infos()
        self._last_time = 0
        self._undurable = 0  # changes of folders that are made, and not durable yet
        super().__init__(root, reserve)
        try:
            self._finish_move()
        except BaseException:
            self.close()
            raise

    # Files.

    def info(self, descriptor: int, directory: str, path: str) -> FileInfo:
        """The version that is open as ``descriptor``. Raises NoSuchFile if it is no plain file,
        IsFolder if it is a folder."""
        return self._infos.of(descriptor, directory, path)

    def open(self, directory: str, path: str) -> int:
        """Open what is at ``path`` now for reading, and return the descriptor. Raises NoSuchFile,
        StoreBroken or StoreUnavailable."""
        try:
            within = open_directory(self.root, directory)
        except NoSuchDirectory as error:
            raise NoSuchFile(path) from error
        try:
            with self.gate.entered():
                return open_within(within, path, READ_FLAGS)
        except OSError as error:
            raise open_error(error, path, directory) from error
        finally:
            os.close(within)

    def find(self, directory: str, path: str) -> FileInfo | None:
        """The current version, or None. Raises IsFolder."""
        try:
            descriptor = self.open(directory, path)
        except NoSuchFile:
            return None
        try:
            return self.info(descriptor, directory, path)
        except NoSuchFile:
            return None
        finally:
            os.close(descriptor)

    def _entry(self, way: Way, directory: str, path: str) -> Entry | None:
        """What is at the end of ``way``, or None; None too for what is neither file nor folder."""
        found = way.look()
        if found is None:
            return None
        if stat.S_ISDIR(found.st_mode):
            return folder_info(found, directory, path)
        try:
            descriptor = os.open(way.name.encode(), READ_FLAGS, dir_fd=way.folder)
        except OSError as error:
            if isinstance(open_error(error, path, directory), NoSuchFile):
                return None
            raise
        try:
            return self.info(descriptor, directory, path)
        except NoSuchFile:
            return None
        finally:
            os.close(descriptor)

    @contextmanager
    def _changing(
        self, place: str, *, moves: bool = False, whole: bool = False
    ) -> Iterator[Callable[[str, str], Way]]:
        """A function that opens the way to a path in a directory, while no other name is changed.
        At the end what has changed is made durable, or, if the body raised, the folders are removed
        that were made on these ways. ``place``: for the text of errors. ``moves``: whether folders
        may come to other paths. ``whole``: whether each folder on the ways is made durable."""
        with ExitStack() as held, translated(place):
            ways: list[Way] = []

            def way_to(directory: str, path: str) -> Way:
                way = Way(self.root, directory, path, whole=whole or self._undurable > 0)
                held.callback(way.close)
                ways.append(way)
                return way

            with self._names_lock:
                try:
                    yield way_to
                except BaseException:
                    for way in ways:
                        way.unmake()
                    raise
                undurable = moves or any(way.made for way in ways)
                self._undurable += undurable
            try:
                for way in ways:
                    way.sync()
            finally:
                with self._names_lock:
                    self._undurable -= undurable

    def start(self, directory: str, path: str, expect: Expect, size: int) -> Draft:
        """Start a new version. Raises what :meth:`gfs.api.FileSystem.create` says."""
        self.require_writable(directory)
        with ExitStack() as held, translated(directory):
            way = Way(self.root, directory, path)
            held.callback(way.close)
            self._require_publishable(way, directory, path, expect)
            self.require_space(size, files=1 + len(way.missing))
            folder = self._innermost(way)
            descriptor, temporary = self.make_temporary()
            within = way.release() if folder else -1
        return Draft(directory, path, expect, descriptor, temporary, folder, within)

    def _innermost(self, way: Way) -> str:
        """The path of the innermost folder on ``way`` that is there, "" for the directory itself.
        Raises StoreBroken if this user may not publish in it."""
        folder = "/".join(way.path.split("/")[: -1 - len(way.missing)])
        if folder:
            self.require_access(".", way.folder, f"{way.directory}/{folder}")
        return folder

    def _require_publishable(
        self, way: Way, directory: str, path: str, expect: Expect
    ) -> FileInfo | None:
        """What a file that is published at the end of ``way`` replaces. Raises IsFolder, or what
        ``expect`` raises."""
        current = self._entry(way, directory, path)
        expect.check(current)
        if isinstance(current, FolderInfo):
            raise IsFolder(path)
        return current

    def drop(self, draft: Draft) -> None:
        """Close what ``draft`` has open, and remove its temporary name."""
        os.close(draft.descriptor)
        if draft.within >= 0:
            os.close(draft.within)
        if not draft.kept:
            with translated(), suppress(FileNotFoundError):
                os.unlink(draft.temporary, dir_fd=self.root)

    def seal(self, draft: Draft, times_of: FileInfo | None = None) -> None:
        """Give a temporary file the times of a version, new ones or those of ``times_of``, of which
        it is a copy, and make it durable. One that is published already keeps those that it has."""
        older = times_of or self._older(draft)
        with translated():
            if draft.kept and _has_another_name(draft.descriptor):
                os.fsync(draft.descriptor)
                return
            modified = self._new_time() if times_of is None else times_of.modified_ns
            if older is not None and older.created_ns != modified:
                # Without extended attributes only the age of a replaced file is lost.
                with suppress(OSError):
                    set_created(draft.descriptor, older.created_ns)
            os.utime(draft.descriptor, ns=(modified, modified))
            os.fsync(draft.descriptor)

    def _older(self, draft: Draft) -> FileInfo | None:
        try:
            return self.find(draft.directory, draft.path)
        except IsFolder:
            return None  # the publish raises it, unless the folder is gone by then

    def publish(self, draft: Draft) -> Published:
        """Give a sealed temporary file its name. Raises what :meth:`gfs.api.Writer.commit` says, or
        what that of an Assembly says if it was made in parts."""
        directory, path = draft.directory, draft.path
        # An earlier publish of the same upload may have ended before its folders were durable.
        with self._changing(directory, whole=draft.kept) as way_to:
            way = way_to(directory, path)
            current = None
            if not (draft.kept and _leads_to(way, draft.descriptor)):
                self._require_folder(draft)
                current = self._require_publishable(way, directory, path, draft.expect)
                way.make()
                try:
                    self._give_name(draft, way)
                except FileExistsError as error:
                    raise AlreadyExists(path) from error
                except IsADirectoryError as error:
                    raise IsFolder(path) from error
        return Published(self.info(draft.descriptor, directory, path), current)

    def _give_name(self, draft: Draft, way: Way) -> None:
        """Put the temporary file at the end of ``way``. Raises OSError."""
        name = way.name.encode()
        if draft.expect.absent:
            # link(2) itself refuses to replace a file, also one of another program.
            os.link(draft.temporary, name, src_dir_fd=self.root, dst_dir_fd=way.folder)
        elif not draft.kept:
            os.rename(draft.temporary, name, src_dir_fd=self.root, dst_dir_fd=way.folder)
        else:
            second = f"~tmp/{scratch_name()}"
            os.link(draft.temporary, second, src_dir_fd=self.root, dst_dir_fd=self.root)
            try:
                os.rename(second, name, src_dir_fd=self.root, dst_dir_fd=way.folder)
            except BaseException:
                os.unlink(second, dir_fd=self.root)
                raise

    def _require_folder(self, draft: Draft) -> None:
        """Raise NoSuchFolder unless the folder that was there when ``draft`` was started is at its
        path now."""
        if not draft.folder:
            return
        folder = self.open_folder(draft.directory, draft.folder)
        if folder is not None:
            try:
                if os.path.samestat(os.fstat(folder), os.fstat(draft.within)):
                    return
            finally:
                os.close(folder)
        raise NoSuchFolder(draft.folder)

    def delete(self, directory: str, path: str, expect: Expect) -> FileInfo:
        """Remove a file, durably, and return what it was. Raises NoSuchFile, IsFolder, or what
        ``expect`` raises."""
        try:
            with self._changing(directory) as way_to:
                way = way_to(directory, path)
                current = self._entry(way, directory, path)
                if current is None:
                    raise NoSuchFile(path)
                if isinstance(current, FolderInfo):
                    raise IsFolder(path)
                expect.check(current)
                os.unlink(way.name.encode(), dir_fd=way.folder)
                return current
        except (NoSuchDirectory, NotAFolder) as error:
            raise NoSuchFile(path) from error

    def _new_time(self) -> int:
        """The time now in nanoseconds since the epoch, never the same twice in one process."""
        with self._time_lock:
            self._last_time = max(clock.unix_ns(), self._last_time + 1)
            return self._last_time

    # Versions that are made in parts.

    def open_parts(self, upload: str, offset: int) -> int:
        """Open the file of an upload to write on at byte ``offset``, and cut off what is behind it;
        at 0, make it if need be. Returns the descriptor. Raises NoSuchUpload, StoreFull, and
        StoreUnavailable if it is published and has more bytes."""
        with translated("~uploads"):
            self.require_space(files=0 if offset else 1)
            with ExitStack() as on_error:
                descriptor = self._open_upload(upload, makes=not offset)
                on_error.callback(os.close, descriptor)
                if os.fstat(descriptor).st_size < offset:
                    raise NoSuchUpload(upload)
                self._cut(descriptor, offset)
                os.lseek(descriptor, offset, os.SEEK_SET)
                on_error.pop_all()
        return descriptor

    def _open_upload(self, upload: str, *, makes: bool) -> int:
        """Open the file of an upload; ``makes``: make it, durably, unless it is there. Raises
        NoSuchUpload."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if makes else 0)
        try:
            descriptor = os.open(f"~uploads/{upload}", flags, 0o600, dir_fd=self.root)
        except FileNotFoundError as error:
            raise NoSuchUpload(upload) from error
        if makes:
            try:
                self._sync_uploads()
            except BaseException:
                os.close(descriptor)
                raise
        return descriptor

    def _sync_uploads(self) -> None:
        directory = open_directory(self.root, "~uploads")
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _cut(self, descriptor: int, size: int) -> None:
        """Cut off what an open file of an upload has behind its first ``size`` bytes."""
        if os.fstat(descriptor).st_size > size:
            self.require_unpublished(descriptor)
            os.ftruncate(descriptor, size)

    def cut_parts(self, descriptor: int, size: int) -> None:
        """Free what an open file of an upload has behind its first ``size`` bytes. Raises
        StoreUnavailable if it is published and has more."""
        with translated("~uploads"):
            self._cut(descriptor, size)

    def require_unpublished(self, descriptor: int) -> None:
        """Raise StoreUnavailable if the file of an upload has another name: a reader there, or a
        copy of the store that is linked to it, must never see other bytes."""
        if _has_another_name(descriptor):
            raise StoreUnavailable("the file of this upload has another name, and is not changed")

    def assemble(self, directory: str, path: str, expect: Expect, upload: str, size: int) -> Draft:
        """What is stored of an upload, its first ``size`` bytes, as a version to be published at
        ``path``. Raises what :meth:`gfs.api.FileSystem.assemble` says."""
        self.require_writable(directory)
        with ExitStack() as held, translated(directory):
            descriptor = self._open_upload(upload, makes=not size)
            on_error = held.enter_context(ExitStack())
            on_error.callback(os.close, descriptor)
            if os.fstat(descriptor).st_size < size:
                raise ValueError(f"less than {size} bytes are stored of this upload")
            way = Way(self.root, directory, path)
            held.callback(way.close)
            folder = ""
            if not _leads_to(way, descriptor):
                self._require_publishable(way, directory, path, expect)
                if way.missing:
                    self.require_space(files=len(way.missing))
                folder = self._innermost(way)
            self._cut(descriptor, size)
            within = way.release() if folder else -1
            on_error.pop_all()
        temporary = f"~uploads/{upload}"
        return Draft(directory, path, expect, descriptor, temporary, folder, within, kept=True)

    def discard_upload(self, upload: str) -> None:
        """Remove the file of an upload, durably; nothing if there is none. What is published
        stays."""
        with translated("~uploads"):
            with suppress(FileNotFoundError):
                os.unlink(f"~uploads/{upload}", dir_fd=self.root)
            self._sync_uploads()

    # Folders.

    def open_folder(self, directory: str, path: str) -> int | None:
        """Open a folder, "" for the directory itself, to list it; None if there is none. Raises
        StoreBroken or StoreUnavailable."""
        try:
            top = open_directory(self.root, directory)
        except NoSuchDirectory:
            return None
        try:
            return open_folder(top, path, f"{directory}/{path}")
        except NotAFolder:
            return None
        finally:
            os.close(top)

    def stat_folder(self, directory: str, path: str) -> FolderInfo:
        """The folder at ``path``. Raises NoSuchFolder."""
        with self.gate.entered():
            descriptor = self.open_folder(directory, path)
        if descriptor is None:
            raise NoSuchFolder(path)
        try:
            return folder_info(os.fstat(descriptor), directory, path)
        finally:
            os.close(descriptor)

    def make_folder(self, directory: str, path: str) -> FolderInfo:
        """Make a folder, and those above it that are missing, durably. Raises AlreadyExists,
        NotAFolder and NoSuchDirectory."""
        self.require_writable(directory)
        with self._changing(directory) as way_to:
            way = way_to(directory, path)
            if way.look() is not None:
                raise AlreadyExists(path)
            self.require_space(files=1 + len(way.missing))
            way.missing.append(way.name)
            way.make()
            return folder_info(os.fstat(way.folder), directory, path)

    def remove_folder(self, directory: str, path: str) -> None:
        """Move a folder to ``~trash``, durably. Raises NoSuchFolder, and StoreBroken for a mount
        point."""
        try:
            with self._changing(directory) as way_to:
                way = way_to(directory, path)
                found = way.look()
                if found is None or not stat.S_ISDIR(found.st_mode):
                    raise NoSuchFolder(path)
                self._discard(way.name, way.folder, f"{directory}/{path}")
        except (NoSuchDirectory, NotAFolder) as error:
            raise NoSuchFolder(path) from error

    def _discard(self, name: str, within: int, place: str) -> str:
        """Move ``name`` in an open directory to ``~trash``, and return its path there. Raises
        StoreBroken for a mount point."""
        target = f"~trash/{scratch_name()}"
        with _no_mount(place):
            os.rename(name.encode(), target, src_dir_fd=within, dst_dir_fd=self.root)
        return target

    # Moves.

    def move(
        self,
        directory: str,
        path: str,
        to_directory: str,
        to_path: str,
        expect: Expect = ANYTHING,
        expect_there: Expect = ANYTHING,
    ) -> Moved:
        """Move a file or a folder. Raises what :meth:`gfs.api.FileSystem.move` says."""
        if directory == to_directory and (within(path, to_path) or within(to_path, path)):
            raise MovesIntoItself(to_path)
        self._require_space_below(directory, path, to_path)
        both = directory if directory == to_directory else f"{directory} or {to_directory}"
        with self._changing(both, moves=True) as way_to:
            self._finish_move()
            try:
                source = way_to(directory, path)
            except (NoSuchDirectory, NotAFolder) as error:
                raise NoSuchFile(path) from error
            entry = self._entry(source, directory, path)
            if entry is None:
                raise NoSuchFile(path)
            expect.check(entry)
            self.require_writable(to_directory)
            there = way_to(to_directory, to_path)
            replaced = self._entry(there, to_directory, to_path)
            expect_there.check(replaced)
            if there.missing:
                self.require_space(files=len(there.missing))
                there.make()
            self._rename(source, there, isinstance(entry, FolderInfo), expect_there)
        return Moved(replace(entry, directory=to_directory, path=to_path), replaced)

    def _require_space_below(self, directory: str, path: str, to_path: str) -> None:
        """Raise InvalidName if what is in the folder ``path`` had a path at ``to_path`` that cannot
        be. What is published there at the same time is not looked at."""
        deeper = to_path.count("/") - path.count("/")
        longer = len(to_path.encode()) - len(path.encode())
        if deeper <= 0 and longer <= 0:
            return
        with self.gate.entered():
            folder = self.open_folder(directory, path)
        if folder is None:
            return
        segments = MAX_SEGMENTS - 1 - to_path.count("/")
        try:
            with translated(directory):
                fits = has_space_below(folder, segments, MAX_PATH_BYTES - len(to_path.encode()))
        finally:
            os.close(folder)
        if not fits:
            raise InvalidName(
                f"a path in the folder would have more than {MAX_SEGMENTS} segments or "
                f"{MAX_PATH_BYTES} bytes"
            )

    def _rename(self, source: Way, there: Way, is_folder: bool, expect_there: Expect) -> None:
        """Make the move itself, of what is at the end of ``source``."""
        found = there.look()
        if found is None:
            names = (source.name.encode(), source.folder, there.name.encode(), there.folder)
            try:
                with self.gate.closed(), _no_mount(source.name):
                    rename_exclusive(*names)
            except FileExistsError as error:
                if expect_there.absent:
                    raise AlreadyExists(there.name) from error
                raise
        elif expect_there.absent:
            raise AlreadyExists(there.name)  # something that is neither file nor folder
        elif is_folder or stat.S_ISDIR(found.st_mode):
            self._replace(source, there)
        else:
            with self.gate.closed():
                _rename(source, there)

    def _replace(self, source: Way, there: Way) -> None:
        """Put what is at the end of ``source`` in the place of what is at the end of ``there``,
        which goes to ``~trash``."""
        self._note_move(source, there)
        try:
            with self.gate.closed():
                trashed = self._discard(there.name, there.folder, there.name)
                try:
                    _rename(source, there)
                except BaseException:
                    to = there.name.encode()
                    os.rename(trashed, to, src_dir_fd=self.root, dst_dir_fd=there.folder)
                    raise
            source.sync()
            there.sync()
        finally:
            self._finish_move()

    def _note_move(self, source: Way, there: Way) -> None:
        """Write down, durably, what :meth:`_replace` is going to do."""
        moved = os.stat(source.name.encode(), dir_fd=source.folder, follow_symlinks=False)
        ends = [[way.directory, way.path] for way in (source, there)]
        note = json.dumps({"inode": moved.st_ino, "ends": ends})
        self.write_whole("~moving", note.encode())

    def _finish_move(self) -> None:
        """Make the second rename of a move that was interrupted between the two, and remove what
        was written down of it. Raises StoreBroken or StoreUnavailable if it cannot be made."""
        with ExitStack() as held, translated("a move that was interrupted"):
            try:
                with open(os.open("~moving", READ_FLAGS, dir_fd=self.root), "rb") as file:
                    note = json.load(file)
            except FileNotFoundError:
                return
            try:
                source, there = (Way(self.root, *end) for end in note["ends"])
            except (NoSuchDirectory, NotAFolder):
                pass  # it was made, and then more was changed
            else:
                held.callback(source.close)
                held.callback(there.close)
                found = source.look()
                if found is not None and found.st_ino == note["inode"] and there.look() is None:
                    _rename(source, there)
                    source.sync()
                    there.sync()
            os.unlink("~moving", dir_fd=self.root)
            os.fsync(self.root)

    # Directories.

    def make_directory(self, directory: str) -> None:
        """Make a directory, durably, unless it exists. Raises StoreFull."""
        self.make(directory)
        os.close(open_directory(self.root, directory))
        with translated():
            os.fsync(self.root)

    def discard_directory(self, directory: str) -> None:
        """Move a directory to ``~trash``, durably. Raises StoreBroken for a link or a mount point,
        whose files would stay."""
        with translated(directory):
            with self._names_lock:
                try:
                    found = os.stat(directory, dir_fd=self.root, follow_symlinks=False)
                except FileNotFoundError:
                    return
                if not stat.S_ISDIR(found.st_mode):
                    raise not_a_directory(directory)
                self._discard(directory, self.root, directory)
            os.fsync(self.root)


def _has_another_name(descriptor: int) -> bool:
    """Whether an open file of an upload is published, or linked to by anything else."""
    return os.fstat(descriptor).st_nlink > 1


def _leads_to(way: Way, descriptor: int) -> bool:
    """Whether the file that is open as ``descriptor`` is at the end of ``way``."""
    found = way.look()
    return found is not None and os.path.samestat(found, os.fstat(descriptor))


@contextmanager
def _no_mount(place: str) -> Iterator[None]:
    """Raise StoreBroken where ``place`` cannot be moved because it is a mount point."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise StoreBroken(f"{place} is a mount point: unmount it first") from error


def _rename(source: Way, there: Way) -> None:
    """Move what is at the end of ``source`` over what is at the end of ``there``."""
    names = source.name.encode(), there.name.encode()
    with _no_mount(source.name):
        os.rename(*names, src_dir_fd=source.folder, dst_dir_fd=there.folder)
