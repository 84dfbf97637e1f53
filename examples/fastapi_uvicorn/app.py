"""Notes, kept with FastAPI and SQLModel over asyncpg; the database is named by the variable DATABASE_URL."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, select
from sqlmodel.ext.asyncio.session import AsyncSession

LOCK = 7_391  # any number: which worker makes the tables is decided in the database


class Note(SQLModel, table=True):
    """One note."""

    __tablename__ = "fastapi_notes"

    id: int | None = Field(default=None, primary_key=True)
    title: str
    stars: int = Field(default=0, index=True)


engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=4, max_overflow=0)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """The table is there while the application is."""
    async with engine.begin() as connection:
        await connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        await connection.run_sync(SQLModel.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def process() -> dict[str, int]:
    """Which process answers."""
    return {"pid": os.getpid()}


@app.post("/notes", status_code=201)
async def add(note: Note) -> Note:
    """Keep a note."""
    async with AsyncSession(engine, expire_on_commit=False) as session:
        session.add(note)
        await session.commit()
        return note


@app.get("/notes")
async def best(limit: int = 10) -> list[Note]:
    """Those with the most stars."""
    async with AsyncSession(engine) as session:
        return list((await session.exec(select(Note).order_by(Note.stars.desc()).limit(limit))).all())  # type: ignore[attr-defined]


@app.get("/notes/{number}")
async def one(number: int) -> Note:
    """One of them."""
    async with AsyncSession(engine) as session:
        note = await session.get(Note, number)
    if note is None:
        raise HTTPException(404)
    return note


@app.get("/summary")
async def summary() -> dict[str, int]:
    """Two queries at once, each on a connection of its own."""
    found = await asyncio.gather(_count("stars > 2"), _count("stars <= 2"))
    return {"many stars": found[0], "few stars": found[1]}


async def _count(condition: str) -> int:
    async with engine.connect() as connection:
        return (await connection.execute(text(f"SELECT count(*) FROM fastapi_notes WHERE {condition}"))).scalar_one()
