"""A small HTTP server that speaks the Hub's create-repo, preupload and commit calls and keeps what arrives."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Hub(BaseHTTPRequestHandler):
    """Files of commits are written below `server.folder`; `server.calls` lists the requests."""

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else self._read_chunks()
        path = self.path.split("?")[0]
        self.server.calls.append(path)
        address = f"http://{self.headers['Host']}"
        if path == "/api/repos/create":
            request = json.loads(body)
            name = "/".join(part for part in (request.get("organization"), request["name"]) if part)
            self._answer({"url": f"{address}/{name}", "name": name, "id": name})
        elif "/preupload/" in path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self._answer({"files": files})
        elif "/commit/" in path:
            for line in body.splitlines():
                item = json.loads(line)
                if item["key"] == "file":
                    target = Path(self.server.folder) / item["value"]["path"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(base64.b64decode(item["value"]["content"]))
            name = path.split("/api/models/")[1].split("/commit/")[0]
            oid = "0" * 40
            self._answer({"success": True, "commitUrl": f"{address}/{name}/commit/{oid}", "commitOid": oid})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        else:
            self._answer({"error": f"unknown call {path}"}, 404)

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.calls.append(path)
        held = Path(self.server.folder) / path.rpartition("/resolve/main/")[2]
        if "/resolve/main/" in path and held.is_file():
            self._answer({})
        else:
            self._answer({"error": "not found"}, 404)

    do_HEAD = do_GET

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, content: dict, status: int = 200) -> None:
        payload = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"0"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def log_message(self, *args) -> None:
        pass


@contextmanager
def run_hub(folder: Path):
    """Serve on a free loopback port; yields the server, whose `url` is for HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.calls = folder, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
