import http.server
import os
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        root = pathlib.Path("/srv")
        links = sorted(path for path in root.rglob("*") if path.is_symlink())
        body = (
            " ".join(f"{path.relative_to(root)}->{os.readlink(path)}" for path in links)
            + " | "
            + (root / "motto").read_text()
        )
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


http.server.HTTPServer(("", 8000), Handler).serve_forever()
