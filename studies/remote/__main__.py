"""A data set in a bucket against the same in a folder, on a server that speaks S3.

    pip install 'moto[server]' s3fs
    python -m studies.remote [--quick]

2,000 drawn pictures go into a bucket of moto's server on this machine. Measured are the first copy,
the second, one that is killed, again and again, and goes on, a fit on the bucket against one on the
folder, a worker that joins one with a cache of its own, and what is said of places that can't be
read. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from PIL import Image

from autotl.datasets import wallpaper_groups

BUCKET = "box"
URL = f"s3://{BUCKET}/pictures"
COPY = """
import sys, time
from pathlib import Path
from autotl.data import Mirrors
begun = time.perf_counter()
Mirrors(Path(sys.argv[2])).fetch(sys.argv[1])
print(time.perf_counter() - begun)
"""
N_KILLS = 5


def draw(folder: Path, n: int) -> int:
    """``n`` pictures of wallpaper groups as PNG files, a folder per group; their bytes."""
    shown, names = wallpaper_groups(-(-n // 17))
    for index in range(n):
        place = folder / str(names[-1 - index]) / f"{index:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shown[-1 - index]).save(place)
    return sum(file.stat().st_size for file in folder.rglob("*.png"))


@contextmanager
def s3_server(n_open: int | None = None) -> Iterator[dict[str, str]]:
    """moto's server; the environment in which s3fs finds it.

    Args:
        n_open: requests after which it lets nobody in; None: it lets everybody in.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {} if n_open is None else {"INITIAL_NO_AUTH_ACTION_COUNT": str(n_open)}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        env=os.environ | own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "moto.server has ended; is moto[server] installed?"
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "user",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def copy(url: str, folder: Path) -> float:
    """Seconds that a process of its own takes to copy a data set, without its start."""
    command = [sys.executable, "-c", COPY, url, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def n_copied(folder: Path) -> int:
    """Pictures that are copied."""
    return len(list(folder.glob("*/files/*/*.png")))


def killed(folder: Path, source: Path, n: int) -> dict[str, Any]:
    """A copy that is killed each time that another part has come, and then goes on."""
    found, n_broken = [], 0
    whole = {file.name: file.read_bytes() for file in source.rglob("*.png")}
    for number in range(1, N_KILLS + 1):
        wanted = n * number // (N_KILLS + 1)
        process = subprocess.Popen([sys.executable, "-c", COPY, URL, str(folder)])
        while n_copied(folder) < wanted and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        copies = list(folder.glob("*/files/*/*.png"))
        n_broken += sum(file.read_bytes() != whole[file.name] for file in copies)
        found.append(len(copies))
    seconds = copy(URL, folder)
    same = all(file.read_bytes() == whole[file.name] for file in folder.glob("*/files/*/*.png"))
    return {
        "there_at_each_kill": found,
        "broken": n_broken,
        "rest_s": round(seconds, 2),
        "whole_in_the_end": same and n_copied(folder) == n,
    }


def autotl(*arguments: object) -> list[str]:
    """A command of autotl."""
    return [sys.executable, "-c", "from autotl.cli import main; main()", *map(str, arguments)]


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of autotl, run to its end."""
    own = os.environ | environment
    command = autotl(*arguments)
    return subprocess.run(command, capture_output=True, text=True, env=own, check=False)


def fit(data: object, output: Path, name: str) -> dict[str, Any]:
    """What a fit of few trials finds."""
    options = ["--trials", 3, "--strategies", "bottleneck", "--backbones", "embedded", "--quiet"]
    begun = time.perf_counter()
    done = run("fit", data, *options, "--output", output, "--study-name", name, "--json")
    assert done.returncode == 0, done.stderr
    kept = json.loads((output / name / "study.json").read_text(encoding="utf-8"))
    summary = json.loads(done.stdout.splitlines()[-1])
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "fingerprint": kept["identity"]["fingerprint"],
        "data": kept["settings"]["data"],
        **{name: summary[name] for name in ("verdict", "headline", "config", "expected", "test")},
    }


def joined(folder: Path) -> dict[str, Any]:
    """A fit on the bucket, and a worker with a cache of its own: who ran how many trials."""
    output, name = folder / "runs", "joined"
    options = ["--trials", 40, "--strategies", "bottleneck", "--backbones", "embedded", "--quiet"]
    fitting = subprocess.Popen(
        autotl("fit", URL, *options, "--output", output, "--study-name", name),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    storage = f"sqlite:///{output}/optuna.db"
    while not (output / "optuna.db").exists() and fitting.poll() is None:
        time.sleep(0.1)
    worker = run(
        *("worker", "--study", name, "--storage", storage, "--output", output, "--quiet"),
        *("--cache", folder / "own"),
    )
    _, told = fitting.communicate()
    assert fitting.returncode == 0, told
    assert worker.returncode == 0, worker.stderr
    return {
        "by_the_fit": told.count("] trial "),
        "by_the_worker": worker.stderr.count("] trial "),
        "copied_by_the_worker": n_copied(folder / "own" / "mirrors"),
    }


def refusals(folder: Path) -> dict[str, str]:
    """What ``autotl analyze`` says of places that can't be read."""
    fs = fsspec.filesystem("s3")
    fs.pipe(f"{BUCKET}/one.png", b"x")
    fs.pipe(f"{BUCKET}/text/notes.md", b"x")
    places = {
        "no bucket": ("s3://nobox/pictures", {}),
        "no folder": (f"s3://{BUCKET}/none", {}),
        "one file": (f"s3://{BUCKET}/one.png", {}),
        "no pictures": (f"s3://{BUCKET}/text", {}),
        "no server": (URL, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}),
        "no credentials": (URL, {"AWS_ACCESS_KEY_ID": "", "AWS_EC2_METADATA_DISABLED": "true"}),
        "a password": ("http://me:hush@127.0.0.1:9/t.csv?key=hush", {}),
        "no package": ("gs://box/pictures", {}),
        "no protocol": ("foo://box/pictures", {}),
    }
    said = {}
    with s3_server(n_open=0) as closed:
        places["no permission"] = (URL, closed)
        for what, (url, environment) in places.items():
            begun = time.perf_counter()
            own = {"XDG_CACHE_HOME": str(folder / "home"), **environment}
            done = run("analyze", url, "--quiet", **own)
            lines = done.stderr.strip().splitlines()
            seconds = time.perf_counter() - begun
            said[what] = f"[{done.returncode}, {seconds:.0f} s] {lines[-1]}"
            assert "hush" not in done.stderr
            assert "Traceback" not in done.stderr
    return said


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="340 pictures")
    n = 340 if parser.parse_args().quick else 2000
    with tempfile.TemporaryDirectory(prefix="autotl-remote-") as place, s3_server() as environment:
        folder = Path(place)
        os.environ |= environment
        source = folder / "pictures"
        found: dict[str, Any] = {"n": n, "mb": round(draw(source, n) / 1e6, 1)}
        fs = fsspec.filesystem("s3")
        fs.mkdir(BUCKET)
        fs.put(f"{source}/", f"{BUCKET}/pictures/", recursive=True)
        found["first_s"] = round(copy(URL, folder / "a"), 2)
        found["second_s"] = round(copy(URL, folder / "a"), 2)
        found["killed"] = killed(folder / "b", source, n)
        print(json.dumps(found), flush=True)
        runs = folder / "runs"
        here, there = fit(source, runs, "here"), fit(URL, runs, "there")
        same = {name for name in here if here[name] == there[name]}
        found["fit"] = {"here": here, "there": there, "equal": sorted(same)}
        found["joined"] = joined(folder)
        for what, told in refusals(folder).items():
            print(f"{what}: {told}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
