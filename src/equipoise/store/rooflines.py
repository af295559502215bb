"""The rooflines of this person's machines, each measured once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from sqlalchemy import Integer, String, Text, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from equipoise.core.roofline import Roofline
from equipoise.errors import BriefError
from equipoise.store.openings import STORE_URL_VARIABLE, store_url


class _Base(DeclarativeBase):
    pass


class _Kept(_Base):
    __tablename__ = "rooflines"

    environment: Mapped[str] = mapped_column(String(64), primary_key=True)
    threads: Mapped[int] = mapped_column(Integer, primary_key=True)
    roofline: Mapped[str] = mapped_column(Text)


def kept_roofline(environment: str, threads: int, url: str | None = None) -> Roofline | None:
    """The roofline that was measured in an environment, if one was.

    Args:
        environment: Digest of the environment: other libraries or another machine have another.
        threads: Threads that it was measured with.
        url: SQLAlchemy URL of the store; `store_url()` if null.

    Raises:
        BriefError: The store cannot be used.
    """
    with _opened(url) as session:
        found = session.get(_Kept, (environment, threads))
        if found is None:
            return None
        try:
            return Roofline.model_validate_json(found.roofline)
        except ValidationError:  # of an older layout: measured again
            return None


def keep_roofline(roofline: Roofline, url: str | None = None) -> None:
    """Keep a roofline in the place of an older one.

    Raises:
        BriefError: The store cannot be used.
    """
    with _opened(url) as session:
        session.merge(
            _Kept(environment=roofline.environment, threads=roofline.threads, roofline=roofline.model_dump_json())
        )
        session.commit()


@contextmanager
def _opened(url: str | None) -> Iterator[Session]:
    place = url or store_url()
    try:
        engine = create_engine(place)
        try:
            _Base.metadata.create_all(engine)
            with Session(engine) as session:
                yield session
        finally:
            engine.dispose()
    except SQLAlchemyError as error:
        raise BriefError(
            f"the store of rooflines ({place})",
            f"it cannot be used: {str(error).splitlines()[0]}",
            f"set {STORE_URL_VARIABLE} to a SQLAlchemy URL, such as sqlite:////tmp/equipoise.db",
        ) from error
