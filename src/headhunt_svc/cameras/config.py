"""cameras.yaml as typed values. Nothing in it is part of detector_id: a change keeps baselines valid."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from headhunt_svc.cameras.schedule import Hours, within, zone_of
from headhunt_svc.cameras.sources import Source
from headhunt_svc.detector.options import DEFAULT_OPERATING_POINT, Options
from headhunt_svc.errors import ConfigError
from headhunt_svc.names import CameraName, label
from headhunt_svc.sections import Section, problems_of, read_mapping
from headhunt_svc.types import Polygon

_SAMPLE = datetime(2001, 11, 28, 13, 47)
_NOT_SHARED = ("name", "source")  # what no two cameras have in common


class CamerasError(ConfigError):
    """A file of cameras is wrong; `problems` holds every one of its problems."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(f"{path}: {'; '.join(problems)}")
        self.problems = tuple(problems)


def _hours(value: Any) -> Any:
    return Hours.of_text(value) if isinstance(value, str) else value


def _zone(name: str) -> str:
    return zone_of(name).key


def _polygon(corners: tuple[tuple[float, float], ...]) -> Polygon:
    """The corners, if they enclose something."""
    if len(set(corners)) < 3:
        raise ValueError("a polygon has at least three corners, each [x, y]")
    if _is_line(corners):
        raise ValueError("the corners lie on one line: nothing would be masked")
    return corners


def _is_line(corners: Polygon) -> bool:
    (x0, y0), *others = dict.fromkeys(corners)
    (x1, y1), *rest = others
    return all(abs((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) < 1e-9 for x, y in rest)


def _pattern(pattern: str) -> str:
    """The pattern, if a time to the minute can be read from a name that it made."""
    try:
        again = datetime.strptime(_SAMPLE.strftime(pattern), pattern)
    except ValueError as exc:
        raise ValueError(f"{pattern!r} is no pattern of a time, such as yard_%Y%m%d_%H%M%S ({exc})") from exc
    if again.replace(second=0, tzinfo=None) != _SAMPLE:
        raise ValueError(f"{pattern!r} lacks a part of the time, such as yard_%Y%m%d_%H%M%S")
    return pattern


Share = Annotated[float, Field(ge=0, le=1)]
Mask = Annotated[tuple[tuple[Share, Share], ...], AfterValidator(_polygon)]
WeekHours = Annotated[Hours, BeforeValidator(_hours)]


class Camera(Section):
    """One camera.

    operating_point, threshold: what counts as an event; threshold replaces that of the operating point.
    active_hours: when it is scored; empty: always. quiet_hours: when no message about it is sent.
    masks: polygons, corners as shares of the upright picture. merge_s: events closer than that are one.
    cooldown_s: after a message about an event, before the next one. expect_every_s: no picture for so long is an alarm.
    freeze_s: pictures that show nothing new for so long are no new pictures; None: they always are.
    notify: names of the channels that get its messages. name_pattern: the time in the names of a folder's files.
    """

    name: Annotated[str, AfterValidator(CameraName)]
    source: Source
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    operating_point: Annotated[str, AfterValidator(label)] = DEFAULT_OPERATING_POINT
    threshold: float | None = Field(default=None, ge=0, le=1)
    active_hours: tuple[WeekHours, ...] = ()
    quiet_hours: tuple[WeekHours, ...] = ()
    masks: tuple[Mask, ...] = ()
    merge_s: float = Field(default=10, ge=0)
    cooldown_s: float = Field(default=300, ge=0)
    expect_every_s: float = Field(default=60, gt=0)
    freeze_s: float | None = Field(default=60, ge=5)
    notify: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    keep_clips: bool = True
    name_pattern: Annotated[str, AfterValidator(_pattern)] | None = None

    @property
    def zone(self) -> ZoneInfo:
        """Its time zone."""
        return zone_of(self.time_zone)

    def is_active(self, time: datetime) -> bool:
        """Is it scored at this time?"""
        return not self.active_hours or within(self.active_hours, self.zone, time)

    def is_quiet(self, time: datetime) -> bool:
        """Is nobody to be disturbed at this time?"""
        return within(self.quiet_hours, self.zone, time)

    def options(self, smoothing: Literal["offline", "causal"] = "causal") -> Options:
        """How its videos are scored and reported."""
        return Options(self.operating_point, self.threshold, smoothing)


class Cameras(Section):
    """All cameras of a file, in its order."""

    cameras: tuple[Camera, ...]

    def __len__(self) -> int:
        return len(self.cameras)

    def each(self) -> Iterator[Camera]:
        """One after the other."""
        return iter(self.cameras)

    def get(self, name: str) -> Camera | None:
        """The camera of this name, if there is one."""
        return next((camera for camera in self.cameras if camera.name == CameraName(name)), None)

    def only(self, names: Iterable[str]) -> "Cameras":
        """These cameras, each once, in the order of the file. Raises ConfigError: it has no such camera."""
        chosen = {CameraName(name) for name in names}
        if unknown := sorted(chosen - {camera.name for camera in self.cameras}):
            existing = ", ".join(camera.name for camera in self.cameras)
            raise ConfigError(f"no camera {', '.join(map(repr, map(str, unknown)))}; there are: {existing}")
        return Cameras(cameras=tuple(camera for camera in self.cameras if camera.name in chosen))


def load_cameras(path: Path) -> Cameras:
    """Read cameras.yaml: `cameras` with a mapping of names, and `defaults` for what they have in common.

    Raises:
        ConfigError: the file cannot be read; as CamerasError all problems in it at once.
    """
    raw = read_mapping(path, "--cameras", ["cameras"])
    problems = [f"{key}: unknown parameter" for key in raw if key not in ("cameras", "defaults")]
    defaults, cameras = raw.get("defaults") or {}, raw.get("cameras")
    if not isinstance(defaults, dict):
        problems.append("defaults: not a mapping of parameters")
        defaults = {}
    problems += [f"defaults.{key}: must be stated for each camera" for key in defaults if key in _NOT_SHARED]
    if not isinstance(cameras, dict) or not cameras:
        problems.append("cameras: must be a mapping with a name and parameters for each camera")
        cameras = {}
    checked: dict[str, Camera] = {}
    for key, parameters in cameras.items():
        if not isinstance(parameters, dict):
            problems.append(f"cameras.{key}: not a mapping of parameters; the least is `source`")
            continue
        camera = _checked(str(key), parameters, defaults, problems)
        if camera is not None and camera.name in checked:
            problems.append(f"cameras.{key}: a second camera of the name {camera.name!r}")
        elif camera is not None:
            checked[camera.name] = camera
    if problems:
        raise CamerasError(path, list(dict.fromkeys(problems)))
    return Cameras(cameras=tuple(checked.values()))


def merging(path: Path | None, default_s: float) -> Callable[[str], float]:
    """Seconds by camera below which two of its events are one: as cameras.yaml has it, as `watch` does.

    path: None: there is no such file. default_s: of cameras that are not in it: HEADHUNT_EVENTS_MERGE_S.

    Raises:
        ConfigError: the file is missing or cannot be used.
    """
    own = {} if path is None else {camera.name: camera.merge_s for camera in load_cameras(path).each()}
    return lambda camera: own.get(CameraName(camera), default_s)


def _checked(name: str, parameters: dict[Any, Any], defaults: dict[Any, Any], problems: list[str]) -> Camera | None:
    """The camera, or None and its problems; one that comes of the defaults is named as theirs."""
    if "name" in parameters:
        problems.append(f"cameras.{name}.name: unknown parameter; the name stands before the parameters")
        parameters = {key: value for key, value in parameters.items() if key != "name"}
    try:
        return Camera.model_validate({**defaults, **parameters, "name": name})
    except ValidationError as exc:
        for error, problem in zip(exc.errors(), problems_of(exc), strict=True):
            shared = error["loc"][0] in defaults and error["loc"][0] not in parameters
            problems.append(f"defaults.{problem}" if shared else f"cameras.{name}.{problem}")
        return None
