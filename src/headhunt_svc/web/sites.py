"""Which requests come from pages of other sites, where a server listens on loopback and asks for no key.

A browser on this machine reaches loopback, too. A page elsewhere can send it forms, and where the page's own host name
is made to lead here (DNS rebinding), it could also read the answers. Headers tell both from the machine's own requests.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from headhunt_svc.web.keys import required


def is_own_page(headers: Mapping[str, str]) -> bool:
    """Does a request come from a page of this server itself, or from no page? headers: with names in small letters."""
    host, origin = headers.get("host", ""), headers.get("origin")
    try:
        source = urlsplit(origin or "").netloc
    except ValueError:
        return False
    is_own_origin = origin is None or (source != "" and source == host)
    return is_own_origin and headers.get("sec-fetch-site") != "cross-site"


def is_own_name(headers: Mapping[str, str]) -> bool:
    """Is the server asked under a name of loopback?"""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return not host or (name is not None and not required(name))
