"""Refuses requests that pages of other sites make, where the service listens on loopback and asks for no key.

A browser on this machine reaches loopback, too. A page elsewhere can send it forms, and where the page's own host name
is made to lead here (DNS rebinding), it could also read the answers. Headers tell both from the machine's own requests.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from headhunt_svc.serve.auth import required
from headhunt_svc.serve.problems import Problem

_WAY_OUT = "without API keys only this machine is answered, as localhost or 127.0.0.1: set HEADHUNT_API_KEYS"


def refusal(headers: Headers) -> Problem | None:
    """The answer to a request of another site, or under another name than those of loopback; None for all others."""
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        name, source = urlsplit(f"//{host}").hostname, urlsplit(origin or "").netloc
    except ValueError:
        return Problem(403, "host", _WAY_OUT)
    is_own_name = not host or (name is not None and not required(name))
    is_own_page = origin is None or (source != "" and source == host)
    is_cross_site = headers.get("sec-fetch-site") == "cross-site"
    return None if is_own_name and is_own_page and not is_cross_site else Problem(403, "host", _WAY_OUT)
