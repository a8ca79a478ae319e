"""A server of MLflow's protocol in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

TOKEN = "t" * 20
PREFIX = "/api/2.0/mlflow/"
PROGRAM = """
import sys, uvicorn
import tidemill as tm
from tidemill.api import app
api = app.create(tm.open(sys.argv[1]), sys.argv[2])
config = uvicorn.Config(api, port=0, log_level="warning")
server = uvicorn.Server(config)
import asyncio
async def serve():
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    await task
asyncio.run(serve())
"""


class Server:
    """A server in a process of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.root), TOKEN], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        port = self.process.stdout.readline().strip()
        headers = {"authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=30)

    def kill(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def post(self, path: str, /, **body: Any) -> Any:
        answer = self.client.post(PREFIX + path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str, /, **query: Any) -> Any:
        answer = self.client.get(PREFIX + path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refused(self, path: str, /, **body: Any) -> tuple[int, str, str]:
        answer = self.client.post(PREFIX + path, json=body)
        return answer.status_code, answer.json()["error_code"], answer.json()["message"]
