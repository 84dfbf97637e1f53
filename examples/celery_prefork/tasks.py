"""Celery tasks that count words in a database; DATABASE_URL and REDIS_URL name it and the broker."""

from __future__ import annotations

import os
from functools import cache

from celery import Celery
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

DATABASE = "postgresql+psycopg://" + os.environ["DATABASE_URL"].partition("://")[2]

app = Celery("tasks", broker=os.environ["REDIS_URL"], backend=f"db+{DATABASE}")
app.conf.task_default_queue = os.environ.get("QUEUE", "celery")
app.conf.broker_connection_retry_on_startup = True


@cache
def engine() -> Engine:
    """Made by each process when it is first asked for."""
    return create_engine(DATABASE)


@app.task
def count_words(sentence: str) -> tuple[int, int]:
    """How many words, and which process counted them."""
    with engine().connect() as connection:
        words = connection.execute(
            text("SELECT cardinality(regexp_split_to_array(:sentence, :space))"),
            {"sentence": sentence, "space": r"\s+"},
        ).scalar_one()
    return words, os.getpid()


@app.task
def ask_for_a_missing_table() -> str:
    """The name of the error that this raises."""
    try:
        with engine().connect() as connection:
            connection.execute(text("SELECT * FROM celery_no_such_table"))
    except ProgrammingError as error:
        return type(error).__name__
    return "none"
