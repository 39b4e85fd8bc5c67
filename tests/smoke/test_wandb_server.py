"""`wandb sync` for real, to a stand-in for W&B's server: what arrives of a run that was stopped and went on, and what does not."""

import gzip
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from advarch.cli.sync import sync
from advarch.runs.tracking import open_tracker
from tests.runs.test_tracking import CONFIG, FOLDER

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "demo.png"


class Server(BaseHTTPRequestHandler):
    """Knows no run and takes everything; `seen` is what came: run ids, history rows, names of files."""

    seen: dict[str, list[Any]]

    def do_PUT(self) -> None:
        self._read()
        self.seen["files"].append(self.path.removeprefix("/upload/"))
        self._answer({})

    def do_POST(self) -> None:
        asked = json.loads(self._read() or b"{}")
        if self.path != "/graphql":
            rows = asked.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
            self.seen["rows"] += map(json.loads, rows)
            self._answer({"exitcode": None, "limits": {}})
            return
        given = asked.get("variables") or {}
        query = asked.get("query", "")
        if "upsertBucket" in query:
            self.seen["ids"].append(given.get("name"))
        project = {"id": "p", "name": "p", "entity": {"id": "e", "name": "team"}}
        run = {"id": "b", "name": given.get("name"), "displayName": "", "config": "{}", "project": project}
        address = f"http://127.0.0.1:{self.server.server_address[1]}/upload/"
        files = [{"name": name, "uploadUrl": address + name} for name in given.get("files") or []]
        known = {
            "viewer": {"id": "u", "entity": "team", "username": "me", "flags": "{}", "teams": {"edges": []}},
            "model": {"bucket": None},
            "upsertBucket": {"bucket": run, "inserted": True},
            "createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files},
        }
        data = {name: value for name, value in known.items() if name in query}
        self._answer({"data": data} if data else {"errors": [{"message": "not here"}]})

    def _read(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Any]]]:
    Server.seen = {"ids": [], "rows": [], "files": []}
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield Server.seen
        server.shutdown()


@pytest.mark.slow
def test_two_attempts_arrive_as_one_run_in_order_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: dict[str, list[Any]]
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    with monkeypatch.context() as offline:
        offline.setenv("WANDB_MODE", "offline")
        for steps in ((1, 2), (3,)):
            tracker = open_tracker(folder, CONFIG)
            for step in steps:
                tracker.log({"epoch": step, "val_clean": step / 10}, step=step)
            tracker.show({}, {"curves": PICTURE} if 3 in steps else {}, {}, step=4)
            tracker.finish(0)
    assert sync([str(tmp_path)]) == 0
    assert set(seen["ids"]) == {"0123abcd-nadar-table1"}
    assert [row["_step"] for row in seen["rows"]] == [1, 2, 3, 4]
    names = {name.rpartition("_")[0].rstrip("0123456789_") or name for name in seen["files"]}
    assert names == {"media/images/curves", "config.yaml", "wandb-summary.json"}
    assert sync([str(tmp_path)]) == 0 and len(seen["rows"]) == 4
