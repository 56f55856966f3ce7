"""Which files of a folder that is watched were scored already, so that none is scored twice, also after a restart."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Index, String, Text, UniqueConstraint
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Mapped, Session, mapped_column

from headhunt_svc.names import CameraName
from headhunt_svc.storage.sql import WRITES, Base, UtcTime, database_errors

_IDS = 500  # in one statement


class TakenRow(Base):
    """A file that was taken. path_id: of its path below the folder. version: of size and time; content: its SHA-256.

    problem: why it could not be scored, if so; it is tried again in another version.
    """

    __tablename__ = "taken_files"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    camera: Mapped[str] = mapped_column(String(800))
    path_id: Mapped[str] = mapped_column(String(64))
    path: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(String(64))
    content: Mapped[str | None] = mapped_column(String(64))
    taken: Mapped[datetime] = mapped_column(UtcTime)
    problem: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (UniqueConstraint("camera", "path_id"), Index(None, "camera", "content"))


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file that was taken; see TakenRow."""

    path_id: str
    path: str
    version: str
    content: str | None
    taken: datetime
    problem: str | None = None


class TakenFiles:
    """The files of one camera's folder that were taken. Every method raises UnreachableError."""

    def __init__(self, engine: Engine, camera: str) -> None:
        self._engine, self._camera = engine, CameraName(camera)
        self._writing = engine.execution_options(**WRITES)

    def versions(self) -> Mapping[str, str]:
        """The version that was taken of each path, by the path's id."""
        query = sa.select(TakenRow.path_id, TakenRow.version).where(TakenRow.camera == self._camera)
        with database_errors(), self._engine.connect() as connection:
            return {row.path_id: row.version for row in connection.execute(query)}

    def has(self, content: str) -> bool:
        """Was a file of this content scored already, whatever its name was?"""
        query = sa.select(TakenRow.id).where(
            TakenRow.camera == self._camera, TakenRow.content == content, TakenRow.problem.is_(None)
        )
        with database_errors(), self._engine.connect() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def put(self, file: TakenFile) -> None:
        """Remember a file; what was known of its path before is replaced."""
        with database_errors(), Session(self._writing) as session, session.begin():
            session.execute(
                sa.delete(TakenRow).where(TakenRow.camera == self._camera, TakenRow.path_id == file.path_id)
            )
            session.add(
                TakenRow(
                    camera=self._camera,
                    path_id=file.path_id,
                    path=file.path,
                    version=file.version,
                    content=file.content,
                    taken=file.taken,
                    problem=file.problem,
                )
            )

    def problems(self) -> list[TakenFile]:
        """The files that could not be scored, the latest first."""
        query = sa.select(TakenRow).where(TakenRow.camera == self._camera, TakenRow.problem.is_not(None))
        with database_errors(), Session(self._engine) as session, session.begin():
            return [
                TakenFile(row.path_id, row.path, row.version, row.content, row.taken, row.problem)
                for row in session.scalars(query.order_by(TakenRow.taken.desc()))
            ]

    def forget(self, path_ids: Iterable[str], before: datetime) -> None:
        """Forget these files, which are gone, where they were taken before that time."""
        ids = list(path_ids)
        with database_errors(), self._writing.begin() as connection:
            for i in range(0, len(ids), _IDS):
                connection.execute(
                    sa.delete(TakenRow).where(
                        TakenRow.camera == self._camera,
                        TakenRow.path_id.in_(ids[i : i + _IDS]),
                        TakenRow.taken < before,
                    )
                )
