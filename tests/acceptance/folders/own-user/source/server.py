import http.server
import os
import pathlib

NOTES = pathlib.Path("notes.txt")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        NOTES.write_text("the user may write in its own folder")
        text = f"user {os.getuid()}:{os.getgid()} at {os.getcwd()}, colour {pathlib.Path('colour').read_text()}"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
