"""Debian's chromium, driven by its chromedriver; its log of the network says whom it has asked."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextmanager
def browser(profile: Path, *arguments: str, scripts: bool = True) -> Iterator[Chrome]:
    """A window of 1440x900 that reaches nothing but this machine. scripts: do those of pages run?"""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-dev-shm-usage", "--window-size=1440,900",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        f"--user-data-dir={profile}", *arguments,
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_window_rect(width=1440, height=900)
        yield driver
    finally:
        driver.quit()


def each(driver: Chrome, css: str, value: str) -> list[str]:
    """A value of each element, such as "part.href". One script: a live page replaces its parts between two calls."""
    script = f"return Array.from(document.querySelectorAll(arguments[0]), (part) => {value})"
    return [str(one) for one in driver.execute_script(script, css)]


def text_of(driver: Chrome, css: str) -> str:
    """What is to be read in the first of these elements."""
    return each(driver, css, "part.innerText")[0]


def wait_for_text(driver: Chrome, css: str, text: str, wait_s: float = 20) -> None:
    WebDriverWait(driver, wait_s, ignored_exceptions=[Exception]).until(lambda d: text in text_of(d, css))


def click(driver: Chrome, what: str, by: str = By.CSS_SELECTOR) -> None:
    """Looks for the element again where the page has replaced it before it could be clicked."""
    for _ in range(20):
        with suppress(StaleElementReferenceException):
            driver.find_element(by, what).click()
            return
    raise AssertionError(f"the page replaces {what} faster than it can be clicked")


def complaints(driver: Chrome) -> list[str]:
    """What the page has said on the browser's console since the last look."""
    return [str(line["message"]) for line in driver.get_log("browser")]


def axe(driver: Chrome) -> list[dict[str, Any]]:
    """Serious and critical violations of accessibility on the page."""
    script = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    driver.execute_script(script)
    result: dict[str, Any] = driver.execute_async_script(
        "axe.run(document, {resultTypes: ['violations']}).then(arguments[arguments.length - 1])"
    )
    return [
        {"id": v["id"], "nodes": [node["html"][:200] for node in v["nodes"][:3]], "n": len(v["nodes"])}
        for v in result["violations"]
        if v["impact"] in ("serious", "critical")
    ]
