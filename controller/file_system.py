"""What kind of file system a path is on, as far as databases care."""

from __future__ import annotations

import re
from pathlib import Path

from controller.errors import UnusableDatabase

# Their locks, or the memory shared over a mapped file, do not hold between hosts, or not at all.
NETWORK_FILE_SYSTEMS = frozenset(
    "afs beegfs ceph cifs coda davfs fuse.ceph fuse.davfs fuse.gcsfuse fuse.glusterfs fuse.juicefs "  # noqa: SIM905
    "fuse.moosefs fuse.rclone fuse.s3fs fuse.smbnetfs fuse.sshfs gfs2 gpfs glusterfs lustre ncpfs "
    "nfs nfs4 ocfs2 orangefs panfs pvfs2 smb3 smbfs vboxsf wekafs".split()
)
_MOUNTS = Path("/proc/self/mounts")


def refuse_network_file_system(file: Path, mounts: str | None = None) -> None:
    """Refuse to keep an SQLite database in a file on a network file system.

    Args:
        file: absolute; it need not exist yet.
        mounts: the text of /proc/self/mounts, read by default. Where there is none, as on macOS,
            nothing is known and nothing is refused.

    Raises:
        UnusableDatabase: it is on one.
    """
    if mounts is None:
        try:
            mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return
    place, kind = _mount_of(file.resolve(), mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise UnusableDatabase(
            f"{file}: must be on a local file system, and {place} is {kind}; SQLite's locks do not "
            "hold there, and the ledger would be damaged; put the run directory on a local disk, "
            "or name a PostgreSQL database with ledger_url"
        )


def _mount_of(path: Path, mounts: str) -> tuple[Path, str]:
    """Give where the file system of a path is mounted, and its type; the type "" is unknown."""
    found = (Path("/"), "")
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        mounted_at = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), place))
        # Of several at one place, the last is the one that is seen.
        if path.is_relative_to(mounted_at) and len(mounted_at.parts) >= len(found[0].parts):
            found = (mounted_at, kind)
    return found
