"""Writes rows into a table of your own: an ORM class, and a function that makes a row of each outcome."""

from typing import Any

from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from rxpipe import DatabaseSink, Outcome, Pipeline, Stage


class Base(DeclarativeBase):
    pass


class Word(Base):
    __tablename__ = "words"

    word: Mapped[str] = mapped_column(primary_key=True)
    letters: Mapped[int | None]
    problem: Mapped[str | None]


def row(outcome: Outcome[Any]) -> dict[str, Any]:
    failed = outcome.error is not None
    return {
        "word": outcome.id,
        "letters": None if failed else outcome.value,
        "problem": str(outcome.error) if failed else None,
    }


def count(word: str) -> int:
    if not word.isalpha():
        raise ValueError(f"{word!r} is not a word")
    return len(word)


def main() -> None:
    engine = create_engine("sqlite:///words.db")
    pipeline = Pipeline(Stage("counting", count), sink=DatabaseSink(engine, table=Word, row=row))
    print(pipeline.run(["reactive", "data", "flow", "1234"]))  # "1234" fails, and has a row, too
    with Session(engine) as session:
        print(session.scalar(select(func.sum(Word.letters))), "letters")
    engine.dispose()


if __name__ == "__main__":
    main()
