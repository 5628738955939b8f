import http.server
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = sorted(str(path.relative_to("/srv")) for path in pathlib.Path("/srv").rglob("*") if path.is_file())
        body = " ".join(path for path in found if "__pycache__" not in path) + " | "
        body += pathlib.Path("/srv/app/private-but-known.txt").read_text()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


http.server.HTTPServer(("", 9000), Handler).serve_forever()
