"""A full disk, wherever rtcdp writes: one sentence, and nothing half done is left to be taken for whole."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from rtcdp.errors import ClusterError, SettingError
from rtcdp.servers import kafka_jars, local_kafka
from rtcdp.simulate.board import Board
from rtcdp.simulate.demo import DemoOptions, run
from rtcdp.simulate.screen import save_picture

EXAMPLES = Path(__file__).parents[1] / "examples"
EVENT = b'{"type":"track","event":"Signed Up","userId":"u","messageId":"m","timestamp":"2025-01-01T00:00:00Z"}\n'

NoSpace = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def no_space() -> NoSpace:
    """`with no_space():` no file can grow, in this process and in those that it starts."""

    @contextmanager
    def limited() -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.mark.parametrize(
    "command", [("replay", "-", "-d", str(EXAMPLES / "shop")), ("check", str(EXAMPLES / "shop"), "--json")]
)
def test_an_output_that_cannot_be_written_is_one_line_and_two(command: tuple[str, ...]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("wb") as full:
        program = [sys.executable, "-m", "rtcdp.cli", *command]
        done = subprocess.run(program, input=EVENT, stdout=full, stderr=subprocess.PIPE, env=environment, check=False)
    assert done.stderr == b"rtcdp: the output cannot be written: No space left on device\n"
    assert done.returncode == 2


def test_a_picture_that_cannot_be_written(no_space: NoSpace, tmp_path: Path) -> None:
    path = tmp_path / "demo.svg"
    with no_space(), pytest.raises(SettingError, match=r"--picture: .*demo\.svg cannot be written"):
        save_picture(Board(total=1), path)


def test_a_demo_looks_before_the_show(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "demo.svg"
    with pytest.raises(SettingError, match=r"--picture: .*demo\.svg cannot be written \(No such file or directory\)"):
        run(DemoOptions(events=10**9, picture=path))  # it would take hours


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a Maven that makes one jar: the script is returned."""
    script = tmp_path / "bin" / "mvn"
    script.parent.mkdir()
    script.write_text('#!/bin/sh\nfor last; do :; done\nmkdir "${last#-DoutputDirectory=}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return script


def test_jars_that_cannot_be_kept(no_space: NoSpace, maven: Path, tmp_path: Path) -> None:
    with no_space(), pytest.raises(ClusterError, match=r"^The jars of Apache Kafka cannot be kept in .*/cache/rtcdp: .*\.$"):
        kafka_jars.kafka_libs()
    assert list((tmp_path / "cache" / "rtcdp").iterdir()) == []
    assert kafka_jars.kafka_libs().is_dir()


def test_a_maven_that_runs_out_of_space_is_quoted(maven: Path, tmp_path: Path) -> None:
    works = maven.read_text()
    maven.write_text(f"{works}echo '[ERROR] kafka-server.jar: No space left on device'; echo done; exit 1\n")
    with pytest.raises(ClusterError, match=r"Maven could not fetch Apache Kafka: .*No space left on device"):
        kafka_jars.kafka_libs()
    assert list((tmp_path / "cache" / "rtcdp").iterdir()) == []
    maven.write_text(works)
    assert kafka_jars.kafka_libs().is_dir()


def test_a_local_kafka_without_space(no_space: NoSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_kafka, "find_java", lambda: "java")
    monkeypatch.setattr(local_kafka, "kafka_libs", lambda: tmp_path)
    folder = tmp_path / "kafka"
    with no_space(), pytest.raises(ClusterError, match=rf"^The local Kafka cannot write to {folder}: .*\.$"):
        local_kafka.LocalKafka(folder).start()
