"""A guest book, kept with Flask and Flask-SQLAlchemy; the database is named by the variable DATABASE_URL.

The table is made when the module is imported: under `gunicorn --preload` that is in the master, before it forks.
"""

from __future__ import annotations

import os

from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
db = SQLAlchemy(app)


class Guest(db.Model):  # type: ignore[name-defined,misc]
    """Somebody who wrote."""

    __tablename__ = "flask_guests"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    entries: Mapped[list[Entry]] = relationship(back_populates="guest")


class Entry(db.Model):  # type: ignore[name-defined,misc]
    """What was written."""

    __tablename__ = "flask_entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    guest_id: Mapped[int] = mapped_column(ForeignKey("flask_guests.id"), index=True)
    guest: Mapped[Guest] = relationship(back_populates="entries")


with app.app_context():
    db.create_all()
    db.engine.dispose()  # connections are not to be shared with the workers that are forked from here


@app.get("/")
def process() -> ResponseReturnValue:
    """Which process answers."""
    return jsonify(pid=os.getpid())


@app.post("/entries")
def add() -> ResponseReturnValue:
    """Write an entry."""
    given = request.get_json()
    entry = Entry(text=given["text"], guest=Guest(name=given["name"]))
    db.session.add(entry)
    db.session.commit()
    return jsonify(id=entry.id), 201


@app.get("/entries")
def newest() -> ResponseReturnValue:
    """The newest entries, with a query for the guest of each: the mistake that everybody makes."""
    entries = db.session.scalars(db.select(Entry).order_by(Entry.id.desc()).limit(10))
    return jsonify([{"text": entry.text, "by": entry.guest.name} for entry in entries])


@app.get("/broken")
def broken() -> ResponseReturnValue:
    """A query that fails."""
    db.session.execute(db.text("SELECT no_such_column FROM flask_entries"))
    return jsonify()
