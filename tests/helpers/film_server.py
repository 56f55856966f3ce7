"""An RTSP server (GStreamer's) of films, in real time; runs in Debian's Python, which has its bindings.

    film_server.py PORT [USER:PASSWORD] NAME=FILE...

Each client gets a film from its beginning, at rtsp://127.0.0.1:PORT/NAME. A line USER:PASSWORD on standard input
replaces the password.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

DEMUXERS = {".mp4": "qtdemux", ".ts": "tsdemux"}


class FilmServer:
    """Films behind one port."""

    def __init__(self, port: str, films: dict[str, str], login: str | None) -> None:
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service(port)
        self.auth = GstRtspServer.RTSPAuth() if login else None
        self.basic = None
        if login:
            self.server.set_auth(self.auth)
            self.allow(login)
        for name, path in films.items():
            self.server.get_mount_points().add_factory(f"/{name}", self.factory(path))
        self.server.attach(None)

    def factory(self, path: str) -> object:
        """Plays a film to whoever connects; the encoded pictures stay as they are."""
        factory = GstRtspServer.RTSPMediaFactory()
        demuxer = DEMUXERS[path[path.rindex(".") :]]
        factory.set_launch(
            f'( filesrc location="{path}" ! {demuxer} ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )'
        )
        factory.set_shared(False)
        if self.auth is not None:
            structure = Gst.Structure.new_empty("user")
            structure.set_value("media.factory.access", True)
            structure.set_value("media.factory.construct", True)
            factory.add_role_from_structure(structure)
        return factory

    def allow(self, login: str) -> None:
        """Only this user with this password may see anything, from now on."""
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        if self.basic is not None:
            self.auth.remove_basic(self.basic)
        self.basic = GstRtspServer.RTSPAuth.make_basic(*login.split(":", 1))
        self.auth.add_basic(self.basic, token)


def main() -> None:
    """Serve until standard input ends."""
    port, *rest = sys.argv[1:]
    login = rest.pop(0) if ":" in rest[0] else None
    Gst.init(None)
    server = FilmServer(port, dict(film.split("=", 1) for film in rest), login)
    print("ready", flush=True)
    loop = GLib.MainLoop()

    def line(stream: object, _: object) -> bool:
        text = sys.stdin.readline()
        if not text:
            loop.quit()
            return False
        server.allow(text.strip())
        return True

    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, line)
    loop.run()


if __name__ == "__main__":
    main()
