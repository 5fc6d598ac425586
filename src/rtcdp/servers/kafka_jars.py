"""The jars of the Apache Kafka that is started here: one pinned version, fetched once by Maven; and the Java to run them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

from rtcdp.errors import ClusterError
from rtcdp.servers.local_process import telling_line

JAVA_NEEDED = 17


def find_java() -> str:
    """Path of a Java that can run Kafka: JAVA_HOME's, else the one on the path. Raises ClusterError."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise ClusterError(f"Java is missing: Apache Kafka needs Java {JAVA_NEEDED} or later on the path.")
    version = java_version(java)
    if version < JAVA_NEEDED:
        raise ClusterError(f"Java {version} is too old: Apache Kafka needs Java {JAVA_NEEDED} or later.")
    return java


@cache
def java_version(java: str) -> int:
    """Major version of that Java; 0 where it does not say."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found.group(1)) if found else 0


def kafka_libs() -> Path:
    """Directory of Kafka's jars, fetched by Maven into the user's cache the first time. Raises ClusterError."""
    pom = kafka_pom()
    digest = hashlib.sha256(pom.encode()).hexdigest()[:8]
    libs = cache_directory() / f"kafka-{kafka_version()}-{digest}"
    if libs.is_dir():
        return libs
    maven = shutil.which("mvn")
    if maven is None:
        raise ClusterError("Maven is missing: `mvn` on the path fetches the jars of Apache Kafka, once.")
    try:
        _fetch_libs(maven, pom, libs)
    except OSError as error:
        raise ClusterError(f"The jars of Apache Kafka cannot be kept in {libs.parent}: {error.strerror}.") from None
    return libs


def _fetch_libs(maven: str, pom: str, libs: Path) -> None:
    libs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=libs.parent) as made:
        (Path(made) / "pom.xml").write_text(pom)
        command = [maven, "-q", "-B", "-f", f"{made}/pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={made}/libs"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"Maven could not fetch Apache Kafka: {telling_line(done.stdout + done.stderr)}")
        try:
            (Path(made) / "libs").rename(libs)
        except OSError:
            if not libs.is_dir():  # else another process was faster, with the same jars
                raise


def kafka_pom() -> str:
    """The pinned pom.xml: of the installed package, else of the checkout."""
    packaged = resources.files("rtcdp").joinpath("kafka-pom.xml")
    if packaged.is_file():
        return packaged.read_text()
    return (Path(__file__).parents[3] / "deploy/kafka/pom.xml").read_text()


def kafka_version() -> str:
    """The version of Kafka that the pom.xml pins."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", kafka_pom())
    if found is None:
        raise ClusterError("The pom.xml of the local Kafka names no kafka.version.")
    return found.group(1)


def cache_directory() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/rtcdp`, else `~/.cache/rtcdp`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtcdp"
