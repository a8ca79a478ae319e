"""Makes .venv from the pinned, hashed requirements; does nothing when they have not changed. Standard library only.

python tools/setup.py base    what the demo needs
python tools/setup.py dev     and what tests and checks need
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAGES = {"base": ["build", "base", "demo"], "dev": ["build", "base", "demo", "dev"]}
# What we export to pins versions of our own dependencies, so each of these has an environment of its own.
EXPORTS = {"airflow": ROOT / ".venvs" / "airflow", "kfp": ROOT / ".venvs" / "kfp"}


def main(stage: str) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036  whoever runs an older Python shall be told which one is needed
        print(
            f"tidemill needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12 demo"
        )
        return 2
    began = time.monotonic()
    for name in STAGES[stage]:
        install(name, VENV)
    install_tidemill()
    if stage == "dev":
        for name, place in EXPORTS.items():
            install(name, place)
        get_chromium()
    if time.monotonic() - began > 2:
        say(f"set up in {time.monotonic() - began:.0f} s")
    return 0


def install(name: str, place: Path) -> None:
    """Install one requirements file into the environment at `place`, unless its stamp says that it is there."""
    file = ROOT / "requirements" / f"{name}.txt"
    if is_done(name, file.read_bytes(), place):
        return
    if not (place / "bin" / "python").exists():
        say(f"making {place.relative_to(ROOT)}")
        place.parent.mkdir(parents=True, exist_ok=True)
        venv.create(place, with_pip=True, symlinks=True)
    wanted = sum("==" in line for line in file.read_text().splitlines())
    say(f"installing {wanted} pinned distributions of requirements/{name}.txt")
    more = ["--no-deps", "--no-build-isolation"] if name == "demo" else []
    pip(["--require-hashes", "--no-compile", *more, "-r", str(file)], total=wanted, place=place)
    mark_done(name, file.read_bytes(), place)


def install_tidemill() -> None:
    content = (ROOT / "pyproject.toml").read_bytes()
    if not is_done("tidemill", content, VENV):
        say("installing tidemill itself, from src/")
        pip(["--no-deps", "--no-build-isolation", "-e", str(ROOT)], total=1, place=VENV)
        mark_done("tidemill", content, VENV)


def pip(arguments: list[str], *, total: int, place: Path) -> None:
    """Run pip, showing how far it is; its whole output only when it fails."""
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    lines: list[str] = []
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith(("Collecting ", "Requirement already", "Obtaining ")):
                done = min(done + 1, total)
                show(f"  {done}/{total} {line.split()[1][:50]}")
            elif line.startswith("Installing collected"):
                show(f"  {total}/{total} unpacking")
    show("")
    if process.returncode != 0:
        sys.stdout.writelines(lines[-60:])
        raise SystemExit(f"pip failed ({process.returncode}); above is what it said. Mend it and call make again")


def get_chromium() -> None:
    """The browser of the page tests: Debian's, where we may install it."""
    if any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        return
    if shutil.which("apt-get") and os.geteuid() == 0:
        say("installing Chromium with apt-get, for the page tests")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], check=False, **quiet)  # type: ignore[call-overload]
        subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], check=False, **quiet)  # type: ignore[call-overload]
    if not shutil.which("chromium"):
        say("no Chromium, and no right to install it: the page tests will be skipped (apt-get install chromium)")


def is_done(name: str, content: bytes, place: Path) -> bool:
    stamp = place / f".{name}.done"
    return stamp.exists() and stamp.read_text() == hashlib.sha256(content).hexdigest()


def mark_done(name: str, content: bytes, place: Path) -> None:
    (place / f".{name}.done").write_text(hashlib.sha256(content).hexdigest())


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def show(text: str) -> None:
    """One line that is overwritten, on a terminal; nothing in a log."""
    if sys.stdout.isatty():
        print(f"\r{text:<78}", end="\r", flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) > 1 else "base"))
