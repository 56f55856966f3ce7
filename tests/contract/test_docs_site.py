"""The documentation site builds without network and warnings, and links of documents also work in the repository."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import headhunt_svc
from conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds; --strict makes a broken link, a missing anchor or a page that no menu names an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    assert build.returncode == 0, build.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    for document in DOCUMENTS:
        name = document.relative_to(ROOT).with_suffix(".html")
        page = name.with_name("index.html") if document.stem == "README" else name
        assert (site / page).is_file(), page


def test_pages_fetch_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?([^\">\s]+)", text)
        fetched += re.findall(r"<link[^>]*\shref=\"?([^\">\s]+)", text)
        assert fetched, page
        assert not [address for address in fetched if re.match(r"(?:https?:)?//", address)], page


def test_the_api_page_shows_what_the_package_exports(site: Path) -> None:
    page = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in set(headhunt_svc.__all__) - {"__version__"}:
        exported = getattr(headhunt_svc, name)
        assert f'id="{exported.__module__}.{exported.__qualname__}"' in page, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
def test_links_work_in_the_repository(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target
