"""A camera from which nothing comes for expect_every_s: told within two minutes of that, and when it is back?"""

import time
from contextlib import ExitStack
from pathlib import Path

from live_rig import FilmServer, Outcome, Received, Rig, empty, receiver, watching, write_films

from headhunt_svc.demo.films import Film

WITHIN_S = 120.0
CALM_S = 10.0


def silence(home: Path, expect_s: float) -> Outcome:
    """Kill the server of one of two cameras, wait for the alarm, start it again."""
    outcome, seconds = Outcome(), 600 + 2 * expect_s
    films = {f"{name}.mp4": [Film(12 + i, seconds, 128, i)] for i, name in enumerate(("mute", "well"))}
    paths = {Path(name).stem: path for name, path in write_films(home / "films", films).items()}
    with ExitStack() as stack:
        servers = {name: FilmServer({name: path}) for name, path in paths.items()}
        for server in servers.values():
            stack.callback(server.kill)
        sources = {
            name: {"source": f"rtsp://127.0.0.1:{server.port}/{name}", "expect_every_s": expect_s}
            for name, server in servers.items()
        }
        url, messages = stack.enter_context(receiver())
        rig = stack.enter_context(watching(Rig(empty(home / "watch"), sources, url)))
        outcome.figures["ready_s"] = round(rig.wait_receiving(), 1)
        time.sleep(CALM_S)

        def told(phase: str) -> Received | None:
            return next((m for m in messages if m.body["kind"] == "silence" and m.body["phase"] == phase), None)

        servers["mute"].kill()
        killed = time.time()
        rig.wait(lambda: told("begin") is not None, expect_s + WITHIN_S + 30)
        begin, word = told("begin"), rig.status()["mute"].word
        late = None if begin is None else begin.time - killed - expect_s
        outcome.check(
            "the alarm comes within two minutes of expect_every",
            late is not None and late <= WITHIN_S,
            "no alarm" if late is None else f"{late:.1f} s after {expect_s:g} s of silence",
        )
        outcome.check("and not before", late is not None and late > -2)  # the last picture is a little older
        outcome.check("the status says silent", word == "silent", word)
        servers["mute"].start()
        started = time.time()
        rig.wait(lambda: told("end") is not None, 60 + WITHIN_S)
        end = told("end")
        outcome.check(
            "its end is told when pictures come again",
            end is not None,
            "no message" if end is None else f"after {end.time - started:.1f} s",
        )
        same = begin is not None and end is not None and begin.body["id"] == end.body["id"]
        outcome.check("both have one id", same)
        others = [m.body["camera"] for m in messages if m.body["kind"] == "silence" and m.body["camera"] != "mute"]
        outcome.check("no alarm of the other camera", not others, others)
        code = rig.stop()
        outcome.check("SIGTERM ends it", code == 0, f"exit code {code}")
    return outcome
