"""The register of certify rows that studies have opened.

A certify set wears out: every study that reads it and then changes something spends a little of its independence. The
register counts, by digest of the rows, which studies opened them; resuming a study opens nothing anew.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import DateTime, String, create_engine, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from equipoise.errors import BriefError

STORE_URL_VARIABLE = "EQUIPOISE_STORE"


class _Base(DeclarativeBase):
    pass


class _Opening(_Base):
    __tablename__ = "certify_openings"

    data_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    study: Mapped[str] = mapped_column(String(64), primary_key=True)
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def store_url() -> str:
    """Where the register lives: `$EQUIPOISE_STORE` (a SQLAlchemy URL), else SQLite in the person's data folder."""
    url = os.environ.get(STORE_URL_VARIABLE)
    if url:
        return url
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "equipoise"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BriefError(
            str(home), f"cannot be made: {error.strerror}", f"set {STORE_URL_VARIABLE} to a SQLAlchemy URL"
        ) from None
    return f"sqlite:///{home / 'store.db'}"


def open_certify(data_digest: str, study: str, url: str | None = None) -> int:
    """Note that a study opens these certify rows.

    Args:
        data_digest: `Splits.data_digest` of the rows.
        study: Identity of the study; the same study may open the rows any number of times.
        url: SQLAlchemy URL of the register; `store_url()` if null.

    Returns:
        How many *other* studies had opened the same rows.

    Raises:
        BriefError: The register cannot be used.
    """
    place = url or store_url()
    try:
        engine = create_engine(place)
    except SQLAlchemyError as error:
        raise _unusable(place, error) from error
    try:
        _Base.metadata.create_all(engine)
        with Session(engine) as session, session.begin():
            if session.get(_Opening, (data_digest, study)) is None:
                session.add(_Opening(data_digest=data_digest, study=study, opened_at=datetime.now(UTC)))
                session.flush()
            others = select(func.count()).where(_Opening.data_digest == data_digest, _Opening.study != study)
            return session.scalar(others) or 0
    except SQLAlchemyError as error:
        raise _unusable(place, error) from error
    finally:
        engine.dispose()


def check_register(url: str | None = None) -> None:
    """Make sure, before any long work, that openings can be noted.

    Raises:
        BriefError: The register cannot be used.
    """
    place = url or store_url()
    try:
        engine = create_engine(place)
        _Base.metadata.create_all(engine)
        engine.dispose()
    except SQLAlchemyError as error:
        raise _unusable(place, error) from error


def _unusable(place: str, error: SQLAlchemyError) -> BriefError:
    first = str(error).splitlines()[0]
    return BriefError(
        f"the register of opened certify rows ({place})",
        f"it cannot be used: {first}",
        f"set {STORE_URL_VARIABLE} to a SQLAlchemy URL, such as sqlite:////tmp/equipoise.db",
    )
