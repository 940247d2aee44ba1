from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import UnusableDatabase
from controller.file_system import NETWORK_FILE_SYSTEMS, refuse_network_file_system
from controller.ledger import Ledger
from controller.ledger_reader import LedgerReader

MOUNTS = """\
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
head:/export /shared nfs4 rw,vers=4.2,addr=10.0.0.1 0 0
/dev/sdb1 /shared/scratch xfs rw 0 0
head:/my\\040data /mnt/my\\040data nfs rw 0 0
me@host: /home/me/remote fuse.sshfs rw,user_id=1000 0 0
/dev/sdc1 /data ext4 rw 0 0
//server/share /data cifs rw 0 0
lustre@tcp:/l /lustre lustre rw 0 0
/dev/sdd1 /lustre ext4 rw 0 0
/dev/sda1 / ext4 rw,relatime 0 0
"""


@pytest.mark.parametrize(
    ("file", "place", "kind"),
    [
        ("/shared/runs/ledger.sqlite", "/shared", "nfs4"),
        ("/mnt/my data/ledger.sqlite", "/mnt/my data", "nfs"),
        ("/home/me/remote/a/b/ledger.sqlite", "/home/me/remote", "fuse.sshfs"),
        ("/data/ledger.sqlite", "/data", "cifs"),
        ("/run/../shared/ledger.sqlite", "/shared", "nfs4"),
    ],
)
def test_file_on_a_network_file_system_is_refused(file, place, kind):
    refused = rf"^{file}: must be on a local file system, and {place} is {kind}; .* ledger_url$"

    with pytest.raises(UnusableDatabase, match=refused):
        refuse_network_file_system(Path(file), MOUNTS)


@pytest.mark.parametrize(
    "file",
    [
        "/home/me/ledger.sqlite",
        "/shared/scratch/ledger.sqlite",
        "/shared2/ledger.sqlite",
        "/run/ledger.sqlite",
        "/lustre/ledger.sqlite",
    ],
)
def test_file_on_a_local_file_system_is_taken(file):
    refuse_network_file_system(Path(file), MOUNTS)


def test_file_is_taken_where_nothing_is_known_of_file_systems():
    refuse_network_file_system(Path("/shared/ledger.sqlite"), "")


def test_link_to_a_network_file_system_is_followed(tmp_path):
    (tmp_path / "runs").symlink_to("/shared")

    with pytest.raises(UnusableDatabase, match="/shared is nfs4"):
        refuse_network_file_system(tmp_path / "runs" / "ledger.sqlite", MOUNTS)


@pytest.fixture
def everything_is_remote(monkeypatch, tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("head:/ / nfs4 rw 0 0\n")
    monkeypatch.setattr("controller.file_system._MOUNTS", mounts)


@pytest.mark.usefixtures("everything_is_remote")
def test_ledger_on_a_network_file_system_is_not_made(url, search, tmp_path):
    with pytest.raises(UnusableDatabase, match=r"ledger-1\.sqlite: must be on a local file system"):
        Ledger.create(url, search)

    assert not list(tmp_path.glob("ledger*"))


@pytest.mark.usefixtures("ledger")
def test_ledger_that_has_come_to_a_network_file_system_is_read_and_not_written(url, request):
    request.getfixturevalue("everything_is_remote")

    with LedgerReader(url) as reader:
        assert reader.is_begun
    with pytest.raises(UnusableDatabase, match="must be on a local file system, and / is nfs4"):
        Ledger(url)


def test_kinds_of_file_systems_are_named_as_linux_names_them():
    assert {"nfs", "nfs4", "cifs", "fuse.sshfs", "lustre"} <= NETWORK_FILE_SYSTEMS
    assert not {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"} & NETWORK_FILE_SYSTEMS
