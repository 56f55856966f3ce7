"""An RTSP server (GStreamer's) of red pictures; runs in Debian's Python, which has its bindings.

Prints the ports of two servers: an open one, and one for the user `me` with the password `a:b@c`. Each has /red and,
where the path of an MP4 file of H.264 is given, /file: that, once; and /lossy: the same without some packets.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURES = "videotestsrc is-live=true pattern=red ! video/x-raw,format=I420,width=160,height=120,framerate=10/1"


def serve(auth: object = None) -> int:
    """Start a server; returns its port."""
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {PICTURES} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
    factory.set_shared(False)  # shared, it ends with an assertion when TCP and UDP clients come together
    if auth is not None:
        server.set_auth(auth)
        factory.add_role_from_structure(role())
    server.get_mount_points().add_factory("/red", factory)
    for path in sys.argv[1:2]:
        read = f'filesrc location="{path}" ! qtdemux ! h264parse config-interval=-1 ! rtph264pay pt=96'
        lose = "mtu=300 ! identity drop-probability=0.01 name=pay0"
        for name, launch in (("/file", f"{read} name=pay0"), ("/lossy", f"{read} {lose}")):
            factory = GstRtspServer.RTSPMediaFactory()
            factory.set_launch(f"( {launch} )")
            factory.set_shared(False)
            server.get_mount_points().add_factory(name, factory)
    server.attach(None)
    return int(server.get_bound_port())


def role() -> object:
    """What the user may do."""
    structure = Gst.Structure.new_empty("user")
    structure.set_value("media.factory.access", True)
    structure.set_value("media.factory.construct", True)
    return structure


def password() -> object:
    """Only the user may see anything."""
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("me", "a:b@c"), token)
    return auth


if __name__ == "__main__":
    Gst.init(None)
    print(serve(), serve(password()), flush=True)
    GLib.MainLoop().run()
