"""Refuses requests that pages of other sites make, where the service needs no key (web/sites.py)."""

from starlette.datastructures import Headers

from headhunt_svc.serve.problems import Problem
from headhunt_svc.web.sites import is_own_name, is_own_page

_WAY_OUT = "without API keys only this machine is answered, as localhost or 127.0.0.1: set HEADHUNT_API_KEYS"


def refusal(headers: Headers) -> Problem | None:
    """The answer to a request of another site, or under another name than those of loopback; None for all others."""
    return None if is_own_name(headers) and is_own_page(headers) else Problem(403, "host", _WAY_OUT)
