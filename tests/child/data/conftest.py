"""Small sets in the formats of the real ones, a server that publishes them, and its faults."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from child.data.image_set import IMAGE_SETS
from child.data.torchvision_import import import_datasets

NUM_TRAIN, NUM_TEST = 30, 12
NAMES = ["mnist", "fashion-mnist", "cifar10", "cifar100", "svhn"]


def md5(content):
    return hashlib.md5(content).hexdigest()


@dataclass
class PublishedSet:
    """A set that was made up: its images, and its files by their paths below the folder."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    published: dict[str, bytes] = field(default_factory=dict)
    unpacked: dict[str, bytes] = field(default_factory=dict)

    @property
    def train(self):
        return self.images[:NUM_TRAIN], self.labels[:NUM_TRAIN]

    @property
    def test(self):
        return self.images[NUM_TRAIN:], self.labels[NUM_TRAIN:]


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.tobytes()


def idx_set(made, dataset, monkeypatch):
    raw = f"{dataset.__name__}/raw"
    resources = []
    for part, (images, labels) in (("train", made.train), ("t10k", made.test)):
        for kind, array in (("images-idx3", images[:, 0]), ("labels-idx1", labels)):
            name = f"{part}-{kind}-ubyte"
            made.unpacked[f"{raw}/{name}"] = content = idx(array.astype(np.uint8))
            made.published[f"{raw}/{name}.gz"] = packed = gzip.compress(content)
            resources.append((f"{name}.gz", md5(packed)))
    monkeypatch.setattr(dataset, "resources", resources)
    image_set = IMAGE_SETS[made.name]
    md5s = tuple(md5(content) for content in made.unpacked.values()) if made.name == "mnist" else ()
    monkeypatch.setitem(IMAGE_SETS, made.name, image_set._replace(unpacked_md5=md5s))


def batches_set(made, dataset, monkeypatch):
    key = "labels" if made.name == "cifar10" else "fine_labels"

    def batch(images, labels):
        return pickle.dumps({"data": images.reshape(len(images), -1), key: labels.tolist()})

    names = [name for name, _ in dataset.train_list]
    parts = zip(*(np.split(array, len(names)) for array in made.train), strict=True)
    contents = {name: batch(*part) for name, part in zip(names, parts, strict=True)}
    test_name = dataset.test_list[0][0]
    contents[test_name] = batch(*made.test)
    meta = dict(dataset.meta)
    contents[meta["filename"]] = pickle.dumps({meta["key"]: ["a class"]})

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in contents.items():
            made.unpacked[f"{dataset.base_folder}/{name}"] = content
            info = tarfile.TarInfo(f"{dataset.base_folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    made.published[dataset.filename] = packed.getvalue()

    monkeypatch.setattr(dataset, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(dataset, "train_list", [[name, md5(contents[name])] for name in names])
    monkeypatch.setattr(dataset, "test_list", [[test_name, md5(contents[test_name])]])
    monkeypatch.setattr(dataset, "meta", meta | {"md5": md5(contents[meta["filename"]])})


def mat_set(made, dataset, monkeypatch):
    splits = {}
    for split, (images, labels) in (("train", made.train), ("test", made.test)):
        file = io.BytesIO()
        tens = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        scipy.io.savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": tens})
        url, name, _ = dataset.split_list[split]
        made.published[name] = made.unpacked[name] = file.getvalue()
        splits[split] = [url, name, md5(file.getvalue())]
    monkeypatch.setattr(dataset, "split_list", splits)


FORMATS = {"idx": idx_set, "batches": batches_set, "mat": mat_set}


@pytest.fixture
def make_set(monkeypatch):
    """Make up a set; torchvision and we take it for the one of that name until the test ends."""

    def make(name):
        image_set = IMAGE_SETS[name]._replace(num_train=NUM_TRAIN, num_test=NUM_TEST)
        monkeypatch.setitem(IMAGE_SETS, name, image_set)
        generator = np.random.default_rng(NAMES.index(name))
        num_images = NUM_TRAIN + NUM_TEST
        images = generator.integers(0, 256, (num_images, *image_set.shape)).astype(np.uint8)
        labels = generator.permutation(np.arange(num_images) % image_set.num_classes)
        made = PublishedSet(name, images, labels)
        dataset = getattr(import_datasets(), image_set.class_name)
        FORMATS[image_set.format](made, dataset, monkeypatch)
        return made

    return make


class Server:
    """A server of files, which counts what it is asked for.

    cut_short: so many requests, the first ones, are given half of the file.
    gate: what is set before half of a file is followed by the other half.
    """

    def __init__(self):
        self.files, self.asked, self.cut_short = {}, Counter(), 0
        self.gate, self.is_half_sent = threading.Event(), threading.Event()
        self.gate.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, handler):
        name = handler.path.removeprefix("/")
        self.asked[name] += 1
        content = self.files.get(name)
        if content is None:
            handler.send_error(404)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        half = len(content) // 2
        handler.wfile.write(content[:half])
        self.is_half_sent.set()
        self.gate.wait(timeout=60)
        if self.asked.total() > self.cut_short:
            handler.wfile.write(content[half:])

    def close(self):
        self.gate.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def publish(make_set, server, monkeypatch):
    """Make up a set that the server publishes, at the addresses that torchvision gives."""

    def publish(name):
        made = make_set(name)
        server.files = {Path(path).name: content for path, content in made.published.items()}
        dataset = getattr(import_datasets(), IMAGE_SETS[name].class_name)
        if hasattr(dataset, "mirrors"):
            monkeypatch.setattr(dataset, "mirrors", [server.url])
        elif hasattr(dataset, "split_list"):
            splits = {
                split: [server.url + file_name, file_name, checksum]
                for split, (_, file_name, checksum) in dataset.split_list.items()
            }
            monkeypatch.setattr(dataset, "split_list", splits)
        else:
            monkeypatch.setattr(dataset, "url", server.url + dataset.filename)
        return made

    return publish


@pytest.fixture
def no_network(monkeypatch):
    """Have every name stay unresolved, as where there is no network."""

    def getaddrinfo(*_args, **_options):
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
