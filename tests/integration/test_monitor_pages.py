"""The monitor's page in a real browser: hostile names of cameras are text, and a foreign script would not run."""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from headhunt_svc.core.samples import Sample
from headhunt_svc.monitoring.drift import Comparison
from headhunt_svc.monitoring.pages import with_policy
from headhunt_svc.monitoring.verdicts import CameraVerdict, SignalResult, Verdict
from headhunt_svc.prediction_log.windows import Rows, sample_of
from helpers.log_rows import METADATA, rows

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPTS = 4  # of Evidently's template
AT = datetime(2026, 3, 1, tzinfo=UTC)
OWNED = "document.title='owned'"
HOSTILE = (
    f"</script><script>{OWNED}</script>",
    f'<img src=x onerror="{OWNED}">',
    f"<!--<script>{OWNED}",
    f"\"'`;{OWNED};${{{OWNED}}}\\",
    f'<a href="javascript:{OWNED}" autofocus onfocus="{OWNED}">yard\u2028</a>',
)
pytestmark = [
    pytest.mark.usefixtures("evidently"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its texts outside of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] and self.elements[-1][0] not in ("script", "style"):
            self.texts.append(data)


def shown(page: Path, folder: Path) -> str:
    """The page as the browser has it once its scripts have run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={folder}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def comparison() -> Comparison:
    def sample(seed: int) -> Sample:
        return sample_of(Rows(METADATA, rows(40, seed=seed), 40, 0), 16)

    return Comparison(sample(0), sample(1), 0.5, {"score_psi": SignalResult(0.1, 0.5, 0.0)})


def test_a_browser_shows_hostile_names_as_text(tmp_path: Path) -> None:
    from headhunt_svc.monitoring.snapshot import save_page, take_snapshot

    result = comparison()
    snapshot = take_snapshot(dict.fromkeys(HOSTILE, result), {}, AT, "title")
    cameras = {name: CameraVerdict(name, "fine", signals=result.signals) for name in HOSTILE}
    save_page(tmp_path / "drift.html", snapshot, Verdict(AT, AT, None, cameras, {}, {}, problems=HOSTILE))
    dom = shown(tmp_path / "drift.html", tmp_path / "profile")
    elements = Elements()
    elements.feed(dom)
    names = {name for _, attributes in elements.elements for name in attributes}
    links = [attributes.get("href", "") for _, attributes in elements.elements]
    assert "<title>owned" not in dom
    assert not [name for name in names if name.startswith("on")]
    assert not [link for link in links if link.startswith("javascript:")]
    assert "img" not in {tag for tag, _ in elements.elements}
    assert sum(tag == "script" for tag, _ in elements.elements) == SCRIPTS
    assert sum(tag == "svg" for tag, _ in elements.elements) >= len(HOSTILE)  # it is drawn
    assert set(HOSTILE) <= {text.replace("\xa0", " ") for text in elements.texts}  # in the heading, as they are
    assert any("%3Cimg src=x" in text for text in elements.texts)


@pytest.mark.parametrize("protected", [False, True])
def test_the_policy_stops_scripts_that_got_into_a_page(protected: bool, tmp_path: Path) -> None:
    """Without the policy the same page runs them, so that the test can fail."""
    page = "<html><head><title>fine</title></head><body><script>var own = 1</script>HERE</body></html>"
    page = (with_policy(page) if protected else page).replace(
        "HERE", f'<script>{OWNED}</script><img src=x onerror="{OWNED}">'
    )
    (tmp_path / "page.html").write_text(page)
    title = re.findall(r"<title>(\w+)", shown(tmp_path / "page.html", tmp_path / "profile"))
    assert title == ["fine" if protected else "owned"]
