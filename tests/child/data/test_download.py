from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from child.data.download import download
from child.data.errors import DownloadFailed
from child.data.published_file import PublishedFile

CONTENT = bytes(range(256)) * 400
PLACE = Path("folder/file.bin")

# Downloads one file in a process of its own, which tells on its standard error what it does.
PROGRAM = """
import logging, sys
from pathlib import Path
from child.data.download import download
from child.data.published_file import PublishedFile

url, md5, folder = sys.argv[1:]
logging.basicConfig(level="INFO", format="%(message)s")
download([PublishedFile(Path("folder/file.bin"), md5, urls=(url,))], Path(folder))
"""


@pytest.fixture
def file(server):
    server.files["file.bin"] = CONTENT
    md5 = hashlib.md5(CONTENT).hexdigest()
    return PublishedFile(PLACE, md5, urls=(f"{server.url}file.bin",))


@pytest.fixture
def start(file, tmp_path):
    """Start processes that download the file; those that still run are killed in the end."""
    running = []

    def start():
        command = [sys.executable, "-c", PROGRAM, *file.urls, file.md5, str(tmp_path)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()


def files_in(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_download_brings_the_file_to_its_place(file, tmp_path):
    download([file], tmp_path)

    assert (tmp_path / PLACE).read_bytes() == CONTENT
    assert files_in(tmp_path) == {PLACE}


def test_download_that_is_cut_short_leaves_nothing_and_the_next_one_works(file, server, tmp_path):
    server.cut_short = 1

    with pytest.raises(DownloadFailed, match=r"^no download: what came has the MD5 checksum"):
        download([file], tmp_path)

    assert list(tmp_path.iterdir()) == []
    download([file], tmp_path)
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_download_that_is_interrupted_leaves_nothing_and_the_next_one_works(
    file, tmp_path, monkeypatch
):
    def interrupted(source, target):
        target.write(source.read(100))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download([file], tmp_path)

    assert list(tmp_path.iterdir()) == []
    download([file], tmp_path)
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_folder_that_was_there_stays_though_the_download_failed(server, tmp_path):
    (tmp_path / "there").mkdir()

    with pytest.raises(DownloadFailed):
        download([PublishedFile(PLACE, urls=(f"{server.url}gone.bin",))], tmp_path / "there")

    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_process_that_is_killed_while_it_downloads_stands_in_nobody_s_way(
    file, server, start, tmp_path
):
    server.gate.clear()
    process = start()
    assert server.is_half_sent.wait(timeout=30)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".nasrl-lock").exists()
    assert PLACE not in files_in(tmp_path)
    server.gate.set()

    download([file], tmp_path)

    assert files_in(tmp_path) == {PLACE}
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_processes_that_download_at_once_do_so_once(server, start, tmp_path):
    server.gate.clear()
    first = start()
    assert server.is_half_sent.wait(timeout=30)
    others = [start() for _ in range(3)]
    said = [process.stderr.readline() for process in others]
    assert said == [f"waiting for another process that downloads to {tmp_path}\n"] * 3

    server.gate.set()

    assert [process.wait(timeout=30) for process in [first, *others]] == [0] * 4
    assert server.asked == {"file.bin": 1}
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_lock_that_its_holder_removes_is_taken_anew(file, tmp_path, monkeypatch):
    lock_file, held, acquire = tmp_path / ".nasrl-lock", [], fcntl.flock

    def removed_by_its_holder_at_first(lock, how):
        acquire(lock, how)
        if not held:
            held.append(False)
            lock_file.unlink()

    def copy(source, target):
        held.append(lock_file.exists())
        target.write(source.read())

    monkeypatch.setattr(fcntl, "flock", removed_by_its_holder_at_first)
    monkeypatch.setattr(shutil, "copyfileobj", copy)

    download([file], tmp_path)

    assert held == [False, True]


def test_second_address_is_tried_where_the_first_fails(file, server, tmp_path):
    elsewhere = PublishedFile(PLACE, file.md5, urls=(f"{server.url}gone.bin", *file.urls))

    download([elsewhere], tmp_path)

    assert server.asked == {"gone.bin": 1, "file.bin": 1}
    assert (tmp_path / PLACE).read_bytes() == CONTENT


def test_every_address_that_failed_is_named_with_the_reason(server, tmp_path):
    urls = (f"{server.url}gone.bin", f"{server.url}lost.bin")

    with pytest.raises(DownloadFailed) as error:
        download([PublishedFile(PLACE, "0" * 32, urls=urls)], tmp_path)

    assert str(error.value) == (f"no download: HTTP Error 404: Not Found\n  {urls[0]}\n  {urls[1]}")


def test_folder_that_cannot_be_made_is_named(file, tmp_path):
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(DownloadFailed, match=r"nothing can be written there: .*taken"):
        download([file], tmp_path / "taken")


def test_server_that_falls_silent_is_left(file, server, tmp_path, monkeypatch):
    monkeypatch.setattr("child.data.download.SILENCE_TIMEOUT_S", 0.1)
    server.gate.clear()

    with pytest.raises(DownloadFailed, match="timed out"):
        download([file], tmp_path)
