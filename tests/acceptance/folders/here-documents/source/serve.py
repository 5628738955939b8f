import http.server
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        files = sorted(path for path in pathlib.Path("/app").rglob("*") if path.is_file())
        text = "\n".join(f"{path}: {path.read_text().strip()}" for path in files if path.suffix != ".py")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.HTTPServer(("", 8000), Handler).serve_forever()
