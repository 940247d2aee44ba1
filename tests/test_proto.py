"""The generated code is what the sources in proto/ generate, and runs on what we ask for."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from ps.rpc import parameter_shard_pb2_grpc

ROOT = Path(__file__).parents[1]
PROTO = ROOT / "proto"


@pytest.fixture
def fresh(tmp_path):
    """A folder with newly generated code."""
    sources = sorted(str(path) for path in PROTO.rglob("*.proto"))
    assert sources, f"no .proto under {PROTO}"
    plugins = [f"--{plugin}_out={tmp_path}" for plugin in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", *plugins]
    subprocess.run([*command, *sources], check=True, timeout=60)
    return tmp_path


def generated(root):
    """The generated files in the packages that proto/ mirrors, by their path below root."""
    packages = [package.name for package in PROTO.iterdir() if package.is_dir()]
    paths = (path for package in packages for path in (root / package).rglob("*_pb2*.py*"))
    return {path.relative_to(root).as_posix(): path for path in paths if path.suffix != ".pyc"}


def test_every_generated_file_has_a_source_and_every_source_its_files(fresh):
    assert sorted(generated(ROOT)) == sorted(generated(fresh)), "run `make proto`"


def test_generated_code_matches_its_source(fresh):
    kept = generated(ROOT)
    assert kept
    stale = [
        name
        for name, path in generated(fresh).items()
        if path.read_bytes() != kept[name].read_bytes()
    ]
    assert not stale, f"out of date, run `make proto`: {stale}"


@pytest.fixture
def requirements():
    """What the package asks for, then what its development does, one requirement a line."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    return (
        setup["options"]["install_requires"].splitlines(),
        setup["options.extras_require"]["dev"].splitlines(),
    )


def test_required_grpc_is_the_one_that_generated_the_code(requirements):
    version = parameter_shard_pb2_grpc.GRPC_GENERATED_VERSION
    install, dev = requirements

    assert f"grpcio>={version}" in install
    assert f"grpcio-health-checking>={version}" in install
    assert f"grpcio-tools=={version}" in dev


def test_required_protobuf_is_not_older_than_the_one_that_generated_the_code(requirements):
    source = (ROOT / "ps/rpc/parameter_shard_pb2.py").read_text()
    generated_for = re.search(r"^# Protobuf Python Version: (\S+)$", source, re.MULTILINE)
    required = re.search(r"^protobuf>=([0-9.]+)", "\n".join(requirements[0]), re.MULTILINE)

    assert Version(required.group(1)) >= Version(generated_for.group(1))
